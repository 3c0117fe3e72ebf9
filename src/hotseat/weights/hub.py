"""Downloads from the hub with ``huggingface_hub`` (the extra ``seed``); errors become messages for people.

Within one process the library resumes a file whose connection was cut, and it keeps complete files. It
compares sizes only, so downloaded files are compared with the hub's checksums here.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn

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

from hotseat.weights.wanted import UNFINISHED, WantedFiles, model_folder

DUPLICATES = ("*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.gguf", "original/*")
"""The same weights in other formats: not downloaded where there are ``*.safetensors``."""


STALE_AFTER_S = 86400.0
"""Seconds without a write after which a partial file counts as left by a killed download."""


class DownloadError(Exception):
    """Raised when a download fails; the message says why, and what to do."""

    def __init__(self, words: str, *, permanent: bool = False) -> None:
        """``permanent``: trying again without a change will not help."""
        super().__init__(words)
        self.permanent = permanent


def exit_now(status: int) -> NoReturn:
    """End this process at once: download threads would delay the exit until their file is complete.

    Their partial files are of no use to a later process, and are removed.
    """
    sys.stdout.flush()
    for one in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            file = one.readlink()
            if file.suffix == ".incomplete":
                file.unlink()
    os._exit(status)


def _remove_stale_parts(blobs: Path) -> None:
    """Remove partial files that killed downloads have left."""
    for part in blobs.glob("*.incomplete"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > STALE_AFTER_S:
                part.unlink()


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadPlan:
    """The files of a download, and how much is missing."""

    wanted: WantedFiles
    commit: str
    files: tuple[str, ...]
    size: int
    """Bytes of all files."""
    missing: int
    """Bytes that are not there yet."""


class Hub:
    """A client of the hub for one cache folder."""

    def __init__(
        self,
        folder: Path,
        token: str | None,
        *,
        endpoint: str | None,
        quiet: bool,
        give_token: str = "set HF_TOKEN (or --token-file)",
        again: str = "run the command again",
    ) -> None:
        """``token`` ``None``: as the library finds it (its token file). ``endpoint``: URL of another hub.

        ``give_token`` and ``again`` are the advice in error messages.
        """
        self.folder = folder
        self._token, self._endpoint = token, endpoint
        self._give_token, self._again = give_token, again
        if quiet:
            disable_progress_bars()

    def plan(self, wanted: WantedFiles, *, everything: bool) -> DownloadPlan:
        """Return what has to be downloaded. Raises ``DownloadError``."""
        with self._translated_errors(wanted):
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
            raise DownloadError(f"{wanted}: the repository has no files")
        return DownloadPlan(
            wanted=wanted,
            commit=chosen[0].commit_hash,
            files=tuple(names),
            size=sum(one.file_size or 0 for one in chosen),
            missing=sum(one.file_size or 0 for one in chosen if one.will_download),
        )

    def free_bytes(self) -> int:
        """Return the free bytes of the file system of the cache folder."""
        place = next(one for one in (self.folder, *self.folder.absolute().parents) if one.exists())
        return shutil.disk_usage(place).free

    def fetch(self, plan: DownloadPlan) -> Path:
        """Download what is missing; return the model's folder. Raises ``DownloadError``."""
        with self._translated_errors(plan.wanted):
            _remove_stale_parts(model_folder(self.folder, plan.wanted) / "blobs")
            marker = model_folder(self.folder, plan.wanted) / UNFINISHED
            if plan.missing:
                marker.parent.mkdir(parents=True, exist_ok=True)
                marker.touch()
            place = snapshot_download(
                plan.wanted.repository,
                revision=plan.wanted.revision,
                cache_dir=self.folder,
                token=self._token,
                endpoint=self._endpoint,
                allow_patterns=list(plan.files),
            )
            marker.unlink(missing_ok=True)
            return Path(place)

    def verify(self, plan: DownloadPlan) -> int:
        """Compare all files with the hub's checksums; return how many were compared.

        Damaged files are removed. Raises ``DownloadError``.
        """
        with self._translated_errors(plan.wanted):
            found = HfApi(token=self._token, endpoint=self._endpoint).verify_repo_checksums(
                plan.wanted.repository, revision=plan.commit, cache_dir=self.folder
            )
        for one in found.mismatches:
            damaged = found.verified_path / one["path"]
            damaged.resolve().unlink(missing_ok=True)
            damaged.unlink(missing_ok=True)
        if found.mismatches:
            names = ", ".join(one["path"] for one in found.mismatches)
            raise DownloadError(f"{plan.wanted}: wrong checksum, removed: {names}. Fetch again")
        if missing := sorted(set(found.missing_paths) & set(plan.files)):
            raise DownloadError(f"{plan.wanted}: missing: {', '.join(missing)}. Fetch again")
        return found.checked_count

    @contextmanager
    def _translated_errors(self, wanted: WantedFiles) -> Iterator[None]:
        """Turn the library's errors into ``DownloadError``."""
        try:
            yield
        except (OSError, EntryNotFoundError, httpx2.HTTPError) as error:
            words, permanent = self._explain(error)
            raise DownloadError(f"{wanted}: {words}", permanent=permanent) from None

    def _explain(self, error: BaseException) -> tuple[str, bool]:
        """Return the message for an error, and whether trying again cannot help."""
        match error:
            case GatedRepoError() if self._token:
                return (
                    "gated, and the token that was given (HF_TOKEN) does not open it: accept its terms on "
                    "its page at the hub as the token's owner",
                    True,
                )
            case GatedRepoError():
                return f"gated: accept its terms on its page at the hub, and {self._give_token}", True
            case RepositoryNotFoundError():
                return f"there is no such model, or it is private: check the name, {self._give_token}", True
            case RevisionNotFoundError():
                return "there is no such revision", True
            case HfHubHTTPError():
                status = error.response.status_code
                bad = status in (401, 403)
                return (
                    f"the hub answered with status {status}{': the token is not accepted' if bad else ''}",
                    bad,
                )
            case DryRunError() | LocalEntryNotFoundError() if error.__cause__ is not None:
                return self._explain(error.__cause__)
            case httpx2.HTTPError() | EntryNotFoundError():
                return (
                    f"the hub was not reached ({type(error).__name__}); whole files are kept: {self._again}",
                    False,
                )
            case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG):
                return f"{error.strerror}; whole files are kept: make room and {self._again}", False
            case OSError(strerror=str(words)):
                where = f": {error.filename}" if error.filename else ""
                return words + where, False
            case _:
                return str(error).partition("\n")[0], False
