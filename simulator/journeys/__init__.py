"""Journeys: what users want from end to end, as data, walked by many of them at once."""
