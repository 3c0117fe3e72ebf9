"""Routing: no spelling of a path reaches anything outside the allow-list, however a server may read it.

The checks are those of the property test (``tests/gateway/test_routing.py``).
"""

from __future__ import annotations

from gateway import test_routing as checks


def one(data: bytes) -> None:
    """A raw path."""
    if b"?" in data or b"#" in data:
        return  # cut off before a path is resolved
    reached = checks.data_path(b"/" + data)
    if reached is not None:
        for reading in checks.as_servers_might_read(reached):
            assert checks.is_allowed(reading), (
                f"{data!r} reaches {reached!r}, which may be read as {reading!r}"
            )


SEEDS = [path.encode().lstrip(b"/") for path in checks.FORBIDDEN]
SEEDS += [b"chat/v1/chat/completions", b"v1/%2e%2e/sleep", b"chat/v1/..;/x", b"team/a/deep/tokenize"]
WORDS = [
    b"/",
    b"//",
    b"/./",
    b"/../",
    b"%2f",
    b"%2e",
    b"%5c",
    b"%252f",
    b";",
    b"\\",
    b"v1/",
    b"chat/",
    b"sleep",
    b"%00",
    b"load_lora_adapter",
    b"admin",
    b"models",
    b"\xc3\xa9",
    b" ",
    b"\t",
]
