"""The data plane: from a client's request to a model and back."""
