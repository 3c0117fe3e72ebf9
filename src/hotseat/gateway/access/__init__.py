"""Who is asking and what they may do: credentials, addresses, loopback and admin rules."""
