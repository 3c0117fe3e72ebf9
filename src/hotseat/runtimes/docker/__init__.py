"""Models as Docker containers."""
