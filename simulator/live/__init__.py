"""The live path: the same steps and promises on real services, behind fault proxies."""
