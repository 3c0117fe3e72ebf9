"""A small container image made of this machine's own Python: no download, no debootstrap.

It holds the interpreter, its standard library, a shell and a few commands, with the shared libraries that
they need, and whatever trees the caller adds (``tests/fakes`` at ``/opt/fakes`` in any case).
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

FAKES = Path(__file__).parent
_NOT_NEEDED = re.compile(
    r"tests?|idlelib|(site|dist)-packages|tkinter|turtledemo|lib2to3|pydoc_data|config-.*"
    r"|.*\.a|.*\.opt-\d\.pyc|_test.*\.so|_codecs_.*\.so|xxlimited.*\.so|_(tkinter|dbm|gdbm|curses.*)\..*\.so"
)
_COMMANDS = ("sh", "sleep", "cat", "ls", "env", "mkdir", "chmod", "ln")
_LIBRARY = re.compile(r"(/\S+) \(0x")


def write_root(out: IO[bytes], trees: Mapping[Path, str] | None = None) -> None:
    """Write the root of the image to ``out`` as a tar.

    ``trees`` maps folders or files of this machine to their places in the image; shared libraries in
    them bring those that they need.
    """
    python = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    commands = [Path(found).resolve() for name in _COMMANDS if (found := shutil.which(name))]
    trees = {**(trees or {}), FAKES: "/opt/fakes"}
    binaries = [python, *commands, *filter(_wanted, (library / "lib-dynload").glob("*.so"))]
    for source in trees:
        binaries += source.rglob("*.so*") if source.is_dir() else [source]
    with tarfile.open(fileobj=out, mode="w|") as tar:
        root = _Root(tar)
        for folder in ("proc", "sys", "dev", "tmp", "etc", "root", "var/tmp"):
            root.folder(folder)
        root.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
        root.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
        root.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
        root.add(library, str(library))
        root.add(python, str(python))
        root.link("usr/local/bin/python3", str(python))
        for name in _COMMANDS:
            if found := shutil.which(name):
                root.add(Path(found).resolve(), f"bin/{name}")
        for source, place in trees.items():
            root.add(source, place)
        for needed in sorted(_needed_by(binaries)):
            root.add(needed.resolve(), str(needed))


class _Root:
    """The tar, which must not name a file twice."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._names: set[str] = set()

    def add(self, source: Path, place: str) -> None:
        self._tar.add(source, place.lstrip("/"), filter=self._new)

    def _new(self, member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if not _wanted(Path(member.name)) or member.name in self._names:
            return None
        self._names.add(member.name)
        return member

    def folder(self, name: str) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o1777 if "tmp" in name else 0o755
        self._tar.addfile(info)

    def text(self, name: str, text: str) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(text), 0o644
        self._tar.addfile(info, io.BytesIO(text.encode()))

    def link(self, name: str, target: str) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(info)


def _wanted(path: Path) -> bool:
    return _NOT_NEEDED.fullmatch(path.name) is None


def _needed_by(binaries: Iterable[Path]) -> set[Path]:
    """Shared libraries that these load, as ``ldd`` resolves them."""
    paths = [str(path) for path in binaries if path.is_file()]
    found = subprocess.run(["ldd", *paths], capture_output=True, text=True, check=False).stdout
    return {path for match in _LIBRARY.findall(found) if (path := Path(os.path.normpath(match))).is_file()}
