"""Errors of calls of the API server."""

from __future__ import annotations


class ClusterUnavailable(Exception):
    """The API server cannot be reached, or does not answer."""


class ClusterError(Exception):
    """The API server refused a call."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
