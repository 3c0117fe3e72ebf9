"""Parsers of the small languages inside configuration values."""
