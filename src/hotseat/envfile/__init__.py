"""The ``.env`` file: read as Compose reads it, and rewritten without losing a line."""
