"""Overhead of hotseat: ``python -m benchmarks`` (method and limits: ``docs/performance.md``)."""
