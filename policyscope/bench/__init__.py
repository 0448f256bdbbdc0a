"""The benchmark of dictionaries on agents: every kind, the same data, the same scores."""
