"""One request's way to a model and back: prepare, lease, wait, forward, record."""
