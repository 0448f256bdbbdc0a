"""What changing a feature does to the agent, with intervals."""
