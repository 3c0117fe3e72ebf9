"""Manifests for a cluster, made from the configuration of one machine."""
