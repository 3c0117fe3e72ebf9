"""Benchmarks of models: measured through the running launcher, saved, compared, checked and drawn."""
