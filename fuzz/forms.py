"""Forms with files: nothing but a refusal, and another name put in is the name that is read."""

from __future__ import annotations

import hotseat.gateway.policy.multipart  # noqa: F401  # imported late by itself, and then not seen by the fuzzer
from hotseat.gateway.http.errors import RequestRefused
from hotseat.gateway.http.headers import RequestHead
from hotseat.gateway.policy import body
from hotseat.gateway.policy.request_body import RequestBody

HEAD = RequestHead([(b"content-type", b"multipart/form-data; boundary=B")])


def one(data: bytes) -> None:
    """A form's bytes."""
    if not data:
        return
    asked = _read(data)
    if asked is None or asked.model is None:
        return
    asked.rename("another/name")
    again = body.read(asked.content, HEAD)
    assert (again.model, again.stream) == ("another/name", asked.stream)


def _read(data: bytes) -> RequestBody | None:
    """``None`` where it is refused."""
    status = 400
    try:
        return body.read(data, HEAD)
    except RequestRefused as refuse:
        status = refuse.problem.status
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
