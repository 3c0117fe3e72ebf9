"""Remembers which model made which object, so that a request for an object goes to the server that has it."""

from __future__ import annotations

MAX_IDS = 10_000
_MARKS = (b'"id":"', b'"id": "')
_MAX_ID_BYTES = 128
_LOOK_BYTES = 256
"""Of a response's first piece: the id stands at its beginning."""


class MadeIds:
    """The ids of the last objects that were made (``resp_…``, ``chatcmpl-…``, ``file-…``), by model."""

    def __init__(self) -> None:
        self._models: dict[bytes, str] = {}
        """Oldest first."""

    def __len__(self) -> int:
        return len(self._models)

    def note(self, response: bytes, model: str) -> None:
        """Remember the object that a response describes, if it has an id."""
        for mark in _MARKS:
            at = response.find(mark, 0, _LOOK_BYTES)
            if at != -1:
                break
        else:
            return
        at += len(mark)
        end = response.find(b'"', at, at + _MAX_ID_BYTES)
        if end <= at:
            return
        models = self._models
        models[response[at:end]] = model
        if len(models) > MAX_IDS:
            del models[next(iter(models))]

    def model_of(self, path: bytes) -> str | None:
        """The model that made the object that a path names (``/v1/responses/resp_1/input_items``)."""
        if not self._models:
            return None
        for segment in path.split(b"/")[3:]:
            model = self._models.get(segment)
            if model is not None:
                return model
        return None
