"""Agents: a torch module, how to act with it, and how to read and write inside it."""
