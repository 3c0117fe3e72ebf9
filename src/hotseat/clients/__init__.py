"""Ready configurations for programs that use hotseat."""
