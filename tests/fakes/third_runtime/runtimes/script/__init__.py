"""Models as Python scripts: the smallest runtime, as somebody else would add it."""
