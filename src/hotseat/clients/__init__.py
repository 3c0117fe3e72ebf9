"""Ready configurations for the programs that talk to hotseat."""
