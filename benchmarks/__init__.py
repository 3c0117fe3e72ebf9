"""How much hotseat costs: ``python -m benchmarks`` (method and limits: ``docs/performance.md``)."""
