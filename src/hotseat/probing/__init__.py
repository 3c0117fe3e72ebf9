"""Probes: is a server ready, is it asleep, how much GPU memory is free."""
