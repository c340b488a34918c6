"""Chaos: what is done to a system while users use it, and whether they are served before, during and after."""
