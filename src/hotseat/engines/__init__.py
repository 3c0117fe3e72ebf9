"""What is known of each kind of inference server."""
