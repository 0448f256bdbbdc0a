"""What each feature of a dictionary means, with evidence."""
