"""Simulated services: real wire protocols, ordinary Trio programs, each held to the real one by conformance tests."""
