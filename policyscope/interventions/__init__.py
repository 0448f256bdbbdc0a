"""Edits of activations as values that compose."""
