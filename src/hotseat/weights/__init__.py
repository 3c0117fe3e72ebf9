"""Weights on disk before they are asked for: what is wanted, what is there, and the download."""
