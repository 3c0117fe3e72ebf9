"""Authentication and authorization: credentials, client addresses, loopback and admin rules."""
