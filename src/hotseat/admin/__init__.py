"""The control plane: what is going on, and orders to change it."""
