"""What the platform's users see of its agents: nothing is more important."""
