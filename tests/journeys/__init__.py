"""Journeys: who walks what when, and what came of it."""
