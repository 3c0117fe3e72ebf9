"""Models whose servers knew their gate, kept in a file so that the next hotseat knows them too."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)


class KnownGates:
    """A file with, by model, the fingerprint of the latest configuration whose server knew its gate."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, str] | None = None

    def all(self) -> Mapping[str, str]:
        """Return the fingerprints by model; none where the file cannot be read."""
        return self._read()

    def _read(self) -> dict[str, str]:
        if self._known is None:
            try:
                data = json.loads(self._path.read_text())
            except (OSError, ValueError):
                data = {}
            pairs = data.items() if isinstance(data, dict) else ()
            self._known = {model: mark for model, mark in pairs if isinstance(mark, str)}
        return self._known

    def remember(self, model: str, fingerprint: str) -> None:
        """Keep that a server of this configuration knew its gate."""
        known = self._read()
        if known.get(model) == fingerprint:
            return
        known[model] = fingerprint
        try:
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps(known, indent=1, sort_keys=True))
            fresh.replace(self._path)
        except OSError as error:
            log.warning("%s could not be written: %s", self._path, error.strerror)
