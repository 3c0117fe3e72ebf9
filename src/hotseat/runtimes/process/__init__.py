"""Models as plain processes."""
