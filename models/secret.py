"""The secret that signs tokens where no real user is at risk: in simulation and on staging."""

__all__ = ["DEMO_SECRET"]

DEMO_SECRET = "a secret for simulated and staged platforms only"
