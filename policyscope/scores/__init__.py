"""How good a dictionary is, in numbers."""
