"""Traces for OpenTelemetry: made of what the books and the supervisor tell, after the fact."""
