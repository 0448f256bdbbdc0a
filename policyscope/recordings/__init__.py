"""What happened, aligned step by step, on disk."""
