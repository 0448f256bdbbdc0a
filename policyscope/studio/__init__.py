"""The studio: a study in the browser, with an agent that plays under one's eyes and hands."""
