"""The download, by ``huggingface_hub`` (the extra ``seed``), and its errors in plain words.

The library resumes a file whose connection was cut, and keeps the files that are whole; it compares sizes
only, so what was fetched is compared with the hub's checksums here.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    DryRunError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from hotseat.seeding.wanted import Wanted

DUPLICATES = ("*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.gguf", "original/*")
"""The same weights in other formats: not fetched where there are ``*.safetensors``."""


class CannotSeed(Exception):
    """What went wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a download has to do."""

    wanted: Wanted
    commit: str
    files: tuple[str, ...]
    size: int
    """Bytes of all files."""
    missing: int
    """Bytes that are not there yet."""


class Hub:
    """The hub, and a folder in its cache layout."""

    def __init__(self, folder: Path, token: str | None, *, endpoint: str | None, quiet: bool) -> None:
        """``token`` ``None``: as the library finds it (its token file). ``endpoint``: another hub's URL."""
        self.folder = folder
        self._token, self._endpoint = token, endpoint
        if quiet:
            disable_progress_bars()

    def plan(self, wanted: Wanted, *, everything: bool) -> Plan:
        """Ask what there is to do. Raises ``CannotSeed``."""
        with _told(wanted):
            listed = snapshot_download(
                wanted.repository,
                revision=wanted.revision,
                cache_dir=self.folder,
                token=self._token,
                endpoint=self._endpoint,
                dry_run=True,
            )
        names = [one.filename for one in listed]
        if any(name.endswith(".safetensors") for name in names) and not everything:
            names = [name for name in names if not any(fnmatch(name, one) for one in DUPLICATES)]
        chosen = [one for one in listed if one.filename in set(names)]
        if not chosen:
            raise CannotSeed(f"{wanted}: there are no files")
        return Plan(
            wanted=wanted,
            commit=chosen[0].commit_hash,
            files=tuple(names),
            size=sum(one.file_size or 0 for one in chosen),
            missing=sum(one.file_size or 0 for one in chosen if one.will_download),
        )

    def room(self) -> int:
        """Bytes that are free where the files go."""
        place = next(one for one in (self.folder, *self.folder.absolute().parents) if one.exists())
        return shutil.disk_usage(place).free

    def fetch(self, plan: Plan) -> Path:
        """Download what is missing; the folder of the model. Raises ``CannotSeed``."""
        with _told(plan.wanted):
            return Path(
                snapshot_download(
                    plan.wanted.repository,
                    revision=plan.wanted.revision,
                    cache_dir=self.folder,
                    token=self._token,
                    endpoint=self._endpoint,
                    allow_patterns=list(plan.files),
                )
            )

    def verify(self, plan: Plan) -> int:
        """Compare all files with the hub's checksums; how many. Damaged ones are removed.

        Raises ``CannotSeed``.
        """
        with _told(plan.wanted):
            found = HfApi(token=self._token, endpoint=self._endpoint).verify_repo_checksums(
                plan.wanted.repository, revision=plan.commit, cache_dir=self.folder
            )
        for one in found.mismatches:
            damaged = found.verified_path / one["path"]
            damaged.resolve().unlink(missing_ok=True)
            damaged.unlink(missing_ok=True)
        if found.mismatches:
            names = ", ".join(one["path"] for one in found.mismatches)
            raise CannotSeed(f"{plan.wanted}: wrong checksum, removed: {names}. Fetch again")
        if missing := sorted(set(found.missing_paths) & set(plan.files)):
            raise CannotSeed(f"{plan.wanted}: missing: {', '.join(missing)}. Fetch again")
        return found.checked_count


@contextmanager
def _told(wanted: Wanted) -> Iterator[None]:
    """The library's errors as ``CannotSeed``."""
    try:
        yield
    except (OSError, EntryNotFoundError, httpx2.HTTPError) as error:
        raise CannotSeed(f"{wanted}: {_words(error)}") from None


def _words(error: BaseException) -> str:
    match error:
        case GatedRepoError():
            return "gated: accept its terms on its page at the hub, and set HF_TOKEN (or --token-file)"
        case RepositoryNotFoundError():
            return "there is no such model, or it is private: check the name, set HF_TOKEN"
        case RevisionNotFoundError():
            return "there is no such revision"
        case HfHubHTTPError():
            status = error.response.status_code
            fix = ": the token is not accepted" if status in (401, 403) else ""
            return f"the hub answered with status {status}{fix}"
        case DryRunError() | LocalEntryNotFoundError() if error.__cause__ is not None:
            return _words(error.__cause__)
        case httpx2.HTTPError() | EntryNotFoundError():
            return f"the hub was not reached ({type(error).__name__}); whole files are kept: run it again"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG):
            return f"{error.strerror}; whole files are kept: make room and run it again"
        case OSError(strerror=str(words)):
            return words
        case _:
            return str(error).partition("\n")[0]
