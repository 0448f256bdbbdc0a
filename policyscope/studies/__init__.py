"""The directory that remembers one agent's evidence."""
