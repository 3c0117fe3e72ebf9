"""The page's files: small, unchanged by anybody, and allowed to load nothing from elsewhere."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.hotseat import Hotseat
from hotseat.web.files import FOLDER, PageFile, PageFiles

ROOT = Path(__file__).parents[2]
MOST_BYTES = 120_000
"""What all files together take over the wire."""


def test_the_whole_page_takes_at_most_120_kilobytes() -> None:
    files = PageFiles()
    sizes = {name: len(files.file(name).compressed) for name in files.names()}
    assert sum(sizes.values()) <= MOST_BYTES, sizes


def test_the_libraries_are_those_of_the_lock() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/vendor.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_changed_library_is_noticed(tmp_path: Path) -> None:
    script = ROOT / "scripts/vendor.py"
    vendor = tmp_path / "src/hotseat/web/page/vendor"
    vendor.mkdir(parents=True)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/vendor.py").write_text(script.read_text())
    for path in (FOLDER / "vendor").iterdir():
        (vendor / path.name).write_bytes(path.read_bytes())
    (vendor / "htm.js").write_bytes((vendor / "htm.js").read_bytes() + b"\n")
    (vendor / "extra.js").write_text("")
    done = subprocess.run(
        [sys.executable, tmp_path / "scripts/vendor.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "htm.js differs" in done.stdout
    assert "extra.js is not in the lock" in done.stdout


def test_no_file_of_ours_names_another_place_or_runs_text() -> None:
    for path in FOLDER.glob("*.*"):
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text)
        assert [one for one in found if "www.w3.org" not in one] == [], path.name
        assert not re.search(r"\beval\(|new Function|innerHTML|outerHTML|document\.write|style=\"", text), (
            path.name
        )


def test_a_file_has_one_etag_for_each_form(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("1;\n" * 1000)
    file = PageFile.read(tmp_path / "a.js")
    assert gzip.decompress(file.compressed) == file.content
    (tmp_path / "a.js").write_text("2;\n" * 1000)
    assert PageFile.read(tmp_path / "a.js").etag != file.etag


@pytest.fixture(scope="module")
def hotseat(tmp_path_factory: pytest.TempPathFactory) -> Hotseat:
    env = {"ADMIN_API_KEY": "sk-admin-" + "a" * 32}
    return Hotseat(tmp_path_factory.mktemp("page"), {"chat": []}, env=env)


@pytest.fixture(scope="module")
def running(hotseat: Hotseat) -> Iterator[Hotseat]:
    hotseat.start()
    yield hotseat
    hotseat.stop()


def test_a_browser_gets_the_page_and_a_program_gets_json(running: Hotseat) -> None:
    browser = running.send("GET", "/", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert browser.status == 200
    assert browser.body.startswith(b"<!doctype html>")
    assert running.send("GET", "/", Accept="*/*").json["name"] == "hotseat"
    assert running.send("GET", "/ui").status == 308


def test_files_are_sent_compressed_once_and_with_a_strict_policy(running: Hotseat) -> None:
    first = running.send("GET", "/ui/app.js", **{"Accept-Encoding": "gzip, br"})
    headers = {name.lower(): value for name, value in first.headers.items()}
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(first.body) == (FOLDER / "app.js").read_bytes()
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    again = running.send("GET", "/ui/app.js", **{"Accept-Encoding": "gzip", "If-None-Match": headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    plain = running.send("GET", "/ui/app.js", **{"If-None-Match": headers["etag"]})
    assert plain.status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/ui/../app.py",
        "/ui/..%2fapp.py",
        "/ui/vendor/lock.json",
        "/ui/jsconfig.json",
        "/ui/nope",
        "/ui//app.js",
    ],
)
def test_nothing_but_the_pages_files_is_served(running: Hotseat, path: str) -> None:
    assert running.send("GET", path).status in (401, 404)


def test_a_stranger_learns_nothing_from_the_page(running: Hotseat) -> None:
    told = running.send("GET", "/ui/session").json
    assert told == {
        "admin": False,
        "allowed": False,
        "key": "",
        "signed_in": False,
        "sign_in": True,
        "second_factor": False,
    }
    for path in ("/ui/api/live?topic=seats", "/ui/api/config", "/ui/api/keys", "/ui/connect", "/ui/api/logs"):
        assert running.send("GET", path).status == 401, path
