"""Acting: the one loop, and what drinks from it."""
