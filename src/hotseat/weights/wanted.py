"""The files that a model needs at the hub, and whether a folder has them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hotseat.engines import flags

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
UNFINISHED = ".hotseat-unfinished"
"""A marker in a model's folder during a download and after an interrupted one: files are missing."""
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.pt")


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFiles:
    """A model repository at the hub."""

    repository: str
    """``Qwen/Qwen2.5-Coder-3B-Instruct``."""
    revision: str | None = None
    """A commit, a tag or a branch; ``None``: the main branch."""

    def __str__(self) -> str:
        return self.repository + (f"@{self.revision}" if self.revision else "")


def parse(text: str) -> WantedFiles | None:
    """Parse ``OWNER/NAME`` or ``OWNER/NAME@REVISION``; return ``None`` for any other text."""
    repository, at, revision = text.partition("@")
    if not _REPOSITORY.fullmatch(repository) or (at and not revision):
        return None
    return WantedFiles(repository=repository, revision=revision or None)


def of_command(words: Sequence[str]) -> WantedFiles | None:
    """Return the model of a vLLM command; ``None`` for a path, or a command that names no model."""
    words = flags.words(words)
    named = model_of_command(words)
    wanted = parse(named) if named else None
    revision = flags.value(words, "--revision")
    return WantedFiles(repository=wanted.repository, revision=revision) if wanted else None


def model_of_command(words: Sequence[str]) -> str | None:
    """Return what a vLLM command names as its model, a folder or a repository; ``None``: nothing."""
    words = flags.words(words)
    named = flags.value(words, "--model")
    if named is None:
        start = words.index("serve") + 1 if "serve" in words else 0
        named = next((word for word in words[start : start + 1] if not word.startswith("-")), None)
    return named


def hub_folder(cache: Path | None, env: Mapping[str, str]) -> Path:
    """Return the hub's cache: below the stack's cache folder, else where Hugging Face's tools look."""
    if cache is not None:
        return cache / "huggingface" / "hub"
    if named := env.get("HF_HUB_CACHE"):
        return Path(named).expanduser()
    home = env.get("HF_HOME") or str(Path(env.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(home).expanduser() / "hub"


def model_folder(hub: Path, wanted: WantedFiles) -> Path:
    """Return a model's folder in the hub's cache."""
    return hub / ("models--" + wanted.repository.replace("/", "--"))


def files_are_here(hub: Path, wanted: WantedFiles) -> bool:
    """Whether a model can be served from the hub's cache without the hub.

    An interrupted download counts as missing. Reads names and small files, not the weights.
    """
    folder = model_folder(hub, wanted)
    if (folder / UNFINISHED).exists():
        return False
    found = snapshot(hub, wanted)
    return found is not None and _is_complete(found)


def snapshot(hub: Path, wanted: WantedFiles) -> Path | None:
    """Return the folder of the wanted revision in the hub's cache; ``None``: its commit is unknown."""
    folder, revision = model_folder(hub, wanted), wanted.revision or "main"
    if _COMMIT.fullmatch(revision):
        return folder / "snapshots" / revision
    try:
        commit = (folder / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return folder / "snapshots" / commit


def weights_in(folder: Path | None) -> list[Path]:
    """Return the weight files in a folder, of the first format that it has."""
    for pattern in _WEIGHTS if folder is not None else ():
        assert folder is not None
        if found := sorted(folder.glob(pattern)):
            return found
    return []


def plain_folder(places: Sequence[Path], wanted: WantedFiles) -> Path | None:
    """Return a complete folder of the model's files, as ``--local-dir`` creates it; ``None``: none is."""
    name = "models--" + wanted.repository.replace("/", "--")
    for place in places:
        if _is_complete(place / name):
            return place / name
    return None


def _is_complete(folder: Path) -> bool:
    if not (folder / "config.json").is_file() or list(
        folder.glob(".cache/huggingface/download/*.incomplete")
    ):
        return False
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        return all((folder / str(one)).is_file() for one in index["weight_map"].values())
    except FileNotFoundError:
        return any(next(folder.glob(pattern), None) for pattern in _WEIGHTS)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False
