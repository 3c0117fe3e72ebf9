"""Benchmarks of the models: measured through the running launcher, kept, compared, judged and drawn."""
