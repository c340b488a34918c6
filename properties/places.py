"""Places: the names of the hosts on which the platform's own processes run."""

__all__ = ["AGENTS", "GATEWAYS", "PROCESSES"]

GATEWAYS = ("gateway-a", "gateway-b", "gateway-c")
AGENTS = "agents"
PROCESSES = (*GATEWAYS, AGENTS)
