"""Forms with files (``/v1/audio/…``): the ``model`` field is found and its value replaced.

The parser is python-multipart, which vLLM's own framework uses too. Every byte outside the field
stays as it came.
"""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from hotseat.gateway.http.errors import bad_request
from hotseat.gateway.policy.request_body import RequestBody
from hotseat.gateway.policy.rewrite import RewriteRules

_MAX_PARTS = 1000
_MAX_FIELD_BYTES = 1024
_MAX_PART_HEADER_BYTES = 8192
"""Of the header of one part."""
_MAX_PART_FIELDS = 16


class Form(RequestBody):
    """A ``multipart/form-data`` body, parsed for its ``model`` and ``stream`` fields."""

    __slots__ = ("_names", "_spans")

    def __init__(self, content: bytes, content_type: bytes) -> None:
        """Raises ``RequestRefused`` (400) for a broken form, or one that names two models."""
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not boundary:
            raise bad_request("multipart/form-data needs a boundary in Content-Type", code="invalid_form")
        reader = _Reader(content)
        try:
            parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]
            parser.write(content)
            parser.finalize()
        except (FormParserError, UnicodeDecodeError) as error:
            raise bad_request(f"the form cannot be parsed: {error}", code="invalid_form") from None
        if not reader.ended:
            raise bad_request(
                "the form cannot be parsed: its closing boundary is missing", code="invalid_form"
            )
        names = {content[start:end] for start, end in reader.spans[b"model"]}
        if len(names) > 1:
            raise bad_request("the form names more than one model", code="invalid_form", param="model")
        self._spans = reader.spans[b"model"]
        self._names = reader.names
        streams = {content[start:end] for start, end in reader.spans[b"stream"]}
        super().__init__(
            content,
            next(iter(names)).decode("utf-8", "replace") if names else None,
            any(stream.lower() in (b"true", b"1", b"on", b"yes", b"t", b"y") for stream in streams),
        )

    def rewrite(self, rules: RewriteRules, path: bytes, name: str | None) -> None:
        """Raise ``RequestRefused`` (400, 404) for a form that the route's policy would have to change."""
        rules.check_path(path)
        rules.check_form(path, self._names)
        if name is not None:
            self.rename(name)

    def rename(self, name: str) -> None:
        """Replace the model's name and leave every other byte alone."""
        pieces: list[bytes] = []
        at = 0
        new = name.encode()
        for start, end in self._spans:
            pieces += (self.content[at:start], new)
            at = end
        pieces.append(self.content[at:])
        self.content = b"".join(pieces)
        self._spans = []
        self.model = name


class _Reader:
    """Records the offsets of the fields ``model`` and ``stream``, and the names of all fields."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.spans: dict[bytes, list[tuple[int, int]]] = {b"model": [], b"stream": []}
        self.names: set[str] = set()
        self.ended = False
        self._parts = 0
        self._name = b""
        self._value = b""
        self._disposition = b""
        self._header_bytes = self._header_fields = 0
        self._field: bytes | None = None
        self._start = self._end = 0
        self._header_ended_at = self._data_at = 0

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end_of_form,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise bad_request(f"the form has more than {_MAX_PARTS} parts", code="invalid_form")
        self._disposition = b""
        self._header_bytes = self._header_fields = 0
        self._field = None

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_ended_at = end
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_PART_HEADER_BYTES or self._header_fields > _MAX_PART_FIELDS:
            raise bad_request("the header of a part of the form is too large", code="invalid_form")

    def _header_end(self) -> None:
        self._header_fields += 1
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        self._data_at = self._header_ended_at + 4  # behind two line ends
        options = parse_options_header(self._disposition)[1]
        name = options.get(b"name")
        if name is None:
            raise bad_request("a part of the form has no name", code="invalid_form")
        self.names.add(name.decode("utf-8", "replace"))
        if name in self.spans:
            if b"filename" in options:
                raise bad_request(f"{name.decode()} must be a plain field, not a file", param=name.decode())
            self._field = name
            self._start = self._end = -1

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._field is not None:
            if self._start == -1:
                self._start = start
            self._end = end

    def _part_end(self) -> None:
        if self._field is None:
            return
        if self._start == -1:  # an empty field is as good as none
            if self._field == b"model":
                self.spans[self._field].append((self._data_at, self._data_at))
            return
        if self._end - self._start > _MAX_FIELD_BYTES:
            raise bad_request(f"{self._field.decode()} is too long", param=self._field.decode())
        self.spans[self._field].append((self._start, self._end))

    def _end_of_form(self) -> None:
        self.ended = True
