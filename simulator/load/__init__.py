"""Load: how many users at once a system bears, as a plan drawn from arrival rates, measured and held to objectives."""
