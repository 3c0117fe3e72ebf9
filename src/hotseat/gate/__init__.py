"""The gate: servers that are started as far as the device, and wait there until their model has its turn."""
