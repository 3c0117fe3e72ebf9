"""Records of everything that happens: events, metrics, history and traces."""
