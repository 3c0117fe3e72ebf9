"""What is recorded of everything that happens: events, metrics, history and traces."""
