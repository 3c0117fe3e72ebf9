"""A request's JSON body: rewritten as its route's policy says, and sent on under the model's own name.

Where nothing has to change, the bytes stay as they came.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hotseat.gateway.http.errors import bad_request
from hotseat.gateway.policy.rewrite import RewriteRules

_decode = msgspec.json.Decoder().decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class RequestBody:
    """A whole request body (JSON, or empty), with the fields that routing needs.

    ``model`` is ``None`` where the body does not name one. ``stream`` is what servers with lenient parsers
    take it for; ``is_exact_stream`` is false where others take it for something else.
    """

    __slots__ = ("content", "is_exact_stream", "model", "stream")

    def __init__(
        self, content: bytes, model: str | None = None, stream: bool = False, is_exact_stream: bool = False
    ) -> None:
        self.content = content
        self.model = model
        self.stream = stream
        self.is_exact_stream = is_exact_stream

    def rewrite(self, rules: RewriteRules, path: bytes, name: str | None) -> None:
        """Apply the route's policy; replace the model's name with ``name``, unless that is ``None``.

        Raises ``RequestRefused`` (400, 404).
        """
        rules.check_path(path)
        if not self.content or (name is None and rules.changes_nothing(self.content)):
            return
        try:
            if rules.prompt is not None:
                body = _decode_object(self.content)
            else:  # nothing below the first level matters: it stays as it was written
                body = {
                    key: _decode(raw) if rules.knows(key) else raw
                    for key, raw in _split(self.content).items()
                }
            before = None if rules.bounds else dict(body)
            if name is not None:
                body["model"] = self.model = name
            body = rules.apply(path, body)
            if body != before:
                self.content = msgspec.json.encode(body)
        except msgspec.DecodeError as error:
            raise invalid_json(describe(error)) from None
        except RecursionError:
            raise invalid_json("nested too deeply") from None

    def rename(self, name: str) -> None:
        """Replace the model's name and leave the other fields as they were written."""
        fields = _split(self.content)
        fields["model"] = msgspec.Raw(msgspec.json.encode(name))
        self.content = msgspec.json.encode(fields)
        self.model = name


class OpaqueBody(RequestBody):
    """A body that is neither JSON nor a form, for a path that the operator allowed: it names no model."""

    __slots__ = ()

    def rewrite(self, rules: RewriteRules, path: bytes, name: str | None) -> None:
        """Raise ``RequestRefused`` (400, 404) where the route's policy restricts bodies: this one cannot be
        looked into."""
        rules.check_path(path)
        if rules.bounds:
            raise bad_request(
                "this route's policy can be applied to JSON only: send JSON", code="invalid_json"
            )

    def rename(self, name: str) -> None:
        """Leave the body as it is."""


def invalid_json(why: str) -> Exception:
    """The 400 for a body that is not JSON."""
    return bad_request(f"the body is not valid JSON: {why}", code="invalid_json")


def describe(error: msgspec.DecodeError | UnicodeDecodeError) -> str:
    """A parser's complaint in one line."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (byte {error.start})"
    return str(error).removeprefix("JSON is malformed: ")
