"""What may be written in ``hotseat.yaml``: every key with its type, default and meaning."""
