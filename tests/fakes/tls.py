"""A self-signed certificate for 127.0.0.1, made with the ``openssl`` command."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_certificate(cert: Path, key: Path) -> None:
    """Write certificate and key as PEM files."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
