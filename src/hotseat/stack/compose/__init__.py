"""Compose projects as the checks see them."""
