"""Installation of this hotseat: where it came from, so that a missing extra can be added in the same way."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

IMAGE_PREFIX = "/opt/hotseat"
"""Where the image has its Python."""
_NAME = "hotseat"


def install_extra(extra: str) -> str:
    """Return the command that adds an extra to this installation."""
    prefix = Path(sys.prefix)
    if str(prefix) == IMAGE_PREFIX:
        packages = " ".join(shlex.quote(one) for one in packages_of(extra))
        return f"in a Dockerfile on top of this image: RUN {prefix}/bin/python -m pip install {packages}"
    wanted = shlex.quote(_requirement(extra))
    if (prefix / "pipx_metadata.json").is_file():
        return f"pipx install --force {wanted}"
    if (prefix / "uv-receipt.toml").is_file():
        return f"uv tool install --force {wanted}"
    return f"{_pip_install()} {'-e ' if _source().get('editable') else ''}{wanted}"


def packages_of(extra: str) -> list[str]:
    """Return the packages that an extra consists of, as requirements."""
    found = importlib.metadata.requires(_NAME) or []
    pairs = (one.partition(";") for one in found)
    return [need.strip() for need, _, marker in pairs if re.search(rf"extra == ['\"]{extra}['\"]", marker)]


def _pip_install() -> str:
    if importlib.util.find_spec("pip") is None:  # uv makes environments without it
        return f"uv pip install --python {shlex.quote(sys.executable)}"
    active = os.environ.get("VIRTUAL_ENV") == sys.prefix
    return f"{'pip' if active else f'{shlex.quote(sys.executable)} -m pip'} install"


def _requirement(extra: str) -> str:
    source = _source()
    if path := source.get("path"):
        return f"{path}[{extra}]"
    if url := source.get("url"):
        return f"{_NAME}[{extra}] @ {url}"
    return f"{_NAME}[{extra}]"


def _source() -> dict[str, Any]:
    """Return where it came from, if not from an index (PEP 610): ``path``, ``url``, ``editable``."""
    try:
        text = importlib.metadata.distribution(_NAME).read_text("direct_url.json")
        found = json.loads(text or "{}")
        url = str(found.get("url", ""))
    except (importlib.metadata.PackageNotFoundError, ValueError, AttributeError):
        return {}
    if "dir_info" in found:
        path = unquote(urlsplit(url).path)
        return {"path": path, "editable": bool(found["dir_info"].get("editable"))}
    if "vcs_info" in found:
        vcs = found["vcs_info"]
        return {"url": f"{vcs.get('vcs', 'git')}+{url}@{vcs.get('commit_id', 'HEAD')}"}
    return {"url": url} if url else {}
