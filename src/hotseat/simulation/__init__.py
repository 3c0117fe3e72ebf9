"""The scheduler on a virtual clock, over traffic that was recorded or made up. Knows the core alone."""
