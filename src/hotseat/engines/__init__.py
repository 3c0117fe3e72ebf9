"""Knowledge of each kind of inference server."""
