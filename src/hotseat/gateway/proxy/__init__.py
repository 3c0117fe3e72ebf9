"""One request to a model and back: prepare, lease, wait, forward, record."""
