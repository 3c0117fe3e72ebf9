"""hotseat: one GPU, many models; the right server takes the seat on the first request."""

__version__ = "0.1.0"
