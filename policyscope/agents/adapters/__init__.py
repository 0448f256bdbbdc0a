"""One file per ecosystem that agents come from."""
