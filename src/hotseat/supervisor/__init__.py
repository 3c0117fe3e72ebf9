"""The supervisor owns the scheduler: it turns effects into tasks, and their results into events."""
