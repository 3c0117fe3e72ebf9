"""What a route does to its requests: body checks and rewriting, CORS, rate limits."""
