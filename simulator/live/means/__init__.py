"""The ways in which faults are done to a deployment, one file each."""
