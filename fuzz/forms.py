"""Forms with files: parsed or refused, never an exception; a replaced name is the name that is read."""

from __future__ import annotations

import hotseat.gateway.policy.multipart  # noqa: F401  # imported lazily otherwise, and not instrumented
from hotseat.gateway.http.errors import RequestRefused
from hotseat.gateway.http.headers import RequestHead
from hotseat.gateway.policy import body
from hotseat.gateway.policy.request_body import RequestBody

HEAD = RequestHead([(b"content-type", b"multipart/form-data; boundary=B")])


def one(data: bytes) -> None:
    """A form's bytes."""
    if not data:
        return
    parsed = _read(data)
    if parsed is None or parsed.model is None:
        return
    parsed.rename("another/name")
    again = body.read(parsed.content, HEAD)
    assert (again.model, again.stream) == ("another/name", parsed.stream)


def _read(data: bytes) -> RequestBody | None:
    """Parse a form; ``None`` where it is refused."""
    status = 400
    try:
        return body.read(data, HEAD)
    except RequestRefused as refused:
        status = refused.problem.status
    assert status == 400
    return None


SEEDS = [
    b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\nchat\r\n'
    b'--B\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nxx\r\n--B--\r\n',
    b'--B\r\ncontent-disposition: form-data; name="stream"\r\n\r\ntrue\r\n--B--',
    b"--B\r\nContent-Disposition: form-data; name=model\r\n\r\na\r\n--B\r\ncontent-disposition: form-data; "
    b'name="model"\r\n\r\na\r\n--B--\r\n',
]
WORDS = [
    b"--B\r\n",
    b"--B--\r\n",
    b"content-disposition: form-data; ",
    b'name="model"',
    b'name="stream"',
    b"filename=",
    b"\r\n",
    b"\r\n\r\n",
    b"; ",
    b'"',
    b"name*=utf-8''model",
    b"\\",
    b"\x00",
]
