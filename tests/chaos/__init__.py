"""Chaos experiments: what is done when, what is measured, and what it comes to."""
