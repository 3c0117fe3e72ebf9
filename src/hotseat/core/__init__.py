"""Decides what happens next: pure functions of what is known and the time."""
