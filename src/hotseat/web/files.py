"""The page's files: read once, compressed once, and sent with an ``ETag`` and a strict security policy."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "page"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""By the end of the name; files of other kinds (licences, the lock file) are not served."""

SECURITY = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""Header fields of every file: nothing is loaded from, run from, or told to anywhere else."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file, ready to be sent."""

    content: bytes
    compressed: bytes
    """The same, in gzip."""
    media_type: str
    etag: str

    @staticmethod
    def read(path: Path) -> PageFile:
        """Read and compress a file. Raises ``OSError``."""
        content = path.read_bytes()
        return PageFile(
            content,
            gzip.compress(content, 9, mtime=0),
            _TYPES[path.suffix],
            hashlib.sha256(content).hexdigest()[:20],
        )


class PageFiles:
    """All files of a folder, by their path below it; only what lies there can be asked for."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._paths = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in _TYPES
        }
        self._files: dict[str, PageFile] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._paths

    def names(self) -> list[str]:
        """The paths of all files."""
        return list(self._paths)

    def file(self, name: str) -> PageFile:
        """The file of this name, read when it is first asked for. Raises ``KeyError`` and ``OSError``."""
        if name not in self._files:
            self._files[name] = PageFile.read(self._paths[name])
        return self._files[name]

    def response(self, request: Request, name: str) -> Response:
        """The file as a response: compressed where the client takes that, 304 where it has it already."""
        file = self.file(name)
        compressed = "gzip" in request.headers.get("accept-encoding", "")
        etag = f'"{file.etag}-gz"' if compressed else f'"{file.etag}"'
        headers = {**SECURITY, "etag": etag, "cache-control": "no-cache", "vary": "accept-encoding"}
        known = {
            one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")
        }
        if etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        if compressed:
            headers["content-encoding"] = "gzip"
        return Response(
            file.compressed if compressed else file.content, media_type=file.media_type, headers=headers
        )
