"""Load: plans of arrival rates, what they measure, and what is held against it."""
