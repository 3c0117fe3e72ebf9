"""The control plane: endpoints that show the state of hotseat and its models, and orders that change it."""
