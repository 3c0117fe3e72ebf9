"""The policies that routes apply to their requests: checks and rewriting of bodies, CORS, rate limits."""
