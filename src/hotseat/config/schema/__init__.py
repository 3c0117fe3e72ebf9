"""The schema of ``hotseat.yaml``: every key with its type, its default and its description.

The published JSON schema and the reference page are generated from these classes.
"""
