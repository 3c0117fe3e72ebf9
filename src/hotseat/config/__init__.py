"""The configuration file and the environment, strictly read."""
