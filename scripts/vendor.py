"""Fetches the page's libraries with npm, as files that a browser can load without a build step.

    python scripts/vendor.py            fetch what vendor/lock.json pins; fails if any byte differs
    python scripts/vendor.py --check    compare the files here with the lock, without fetching anything
    python scripts/vendor.py --pin      fetch these versions and write their hashes into the lock

Each package's archive is compared with its SHA-512, and each file with its SHA-256. What is changed in a file
is listed here: imports of other packages become relative, scripts that set a global become modules, and
TypeScript is told to look at our own files alone.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).parent.parent / "src/hotseat/web/page/vendor"
LOCK = VENDOR / "lock.json"

IMPORTS = {
    b'"preact"': b'"./preact.js"',
    b'"preact/hooks"': b'"./hooks.js"',
    b'"@preact/signals-core"': b'"./signals-core.js"',
}
EXPORTS = {"uplot.js": b"\nexport default uPlot;\n", "purify.js": b"\nexport default globalThis.DOMPurify;\n"}


def transform(name: str, content: bytes) -> bytes:
    """The file as it is served: no source map, relative imports, one export for a script."""
    lines = [line for line in content.split(b"\n") if not line.startswith(b"//# sourceMappingURL")]
    content = b"\n".join(lines).partition(b"//# sourceMappingURL")[0].strip() + b"\n"
    for there, here in IMPORTS.items():
        content = content.replace(b"from" + there, b"from" + here)
    head = b"// @ts-nocheck\n" if name.endswith(".js") else b""
    return head + content + EXPORTS.get(name, b"")


def fetch(package: str, version: str, folder: Path) -> tuple[Path, str]:
    """The package's archive and its SHA-512, by npm."""
    command = ["npm", "pack", "--silent", f"{package}@{version}", "--pack-destination", str(folder)]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
    archive = folder / name
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    return archive, f"sha512-{digest}"


def files_of(archive: Path, entry: dict[str, Any]) -> dict[str, bytes]:
    """The wanted files of an archive, transformed, by their name here."""
    found = {}
    with tarfile.open(archive) as tar:
        for name, wanted in entry["files"].items():
            member = tar.extractfile(f"package/{wanted['from']}")
            assert member is not None, wanted["from"]
            found[name] = transform(name, member.read())
    return found


def problems_here(lock: dict[str, Any]) -> list[str]:
    """Files that are missing, changed or not in the lock."""
    known = {name: file["sha256"] for entry in lock.values() for name, file in entry["files"].items()}
    here = {path.name for path in VENDOR.iterdir()} - {LOCK.name}
    found = [f"{name} is not in the lock" for name in sorted(here - set(known))]
    for name, wanted in known.items():
        if name not in here:
            found.append(f"{name} is missing")
        elif hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() != wanted:
            found.append(f"{name} differs from the lock")
    return found


def main() -> int:
    """Run the command; 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare only, offline")
    parser.add_argument("--pin", action="store_true", help="take over the hashes of what is fetched")
    options = parser.parse_args()
    lock: dict[str, Any] = json.loads(LOCK.read_text())
    if not options.check:
        with tempfile.TemporaryDirectory() as folder:
            for package, entry in lock.items():
                archive, integrity = fetch(package, entry["version"], Path(folder))
                if options.pin:
                    entry["integrity"] = integrity
                elif entry["integrity"] != integrity:
                    print(f"{package}: the archive differs from the lock", file=sys.stderr)
                    return 1
                for name, content in files_of(archive, entry).items():
                    digest = hashlib.sha256(content).hexdigest()
                    if options.pin:
                        entry["files"][name]["sha256"] = digest
                    elif entry["files"][name]["sha256"] != digest:
                        print(f"{package}: {name} differs from the lock", file=sys.stderr)
                        return 1
                    (VENDOR / name).write_bytes(content)
        if options.pin:
            LOCK.write_text(json.dumps(lock, indent=2) + "\n")
    problems = problems_here(lock)
    print("\n".join(problems) or f"{len(lock)} packages as in the lock")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
