"""The ``.env`` file: read as Compose reads it, and rewritten without losing a line."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from fakes.compose_binary import compose_binary
from hotseat.envfile import disk
from hotseat.envfile.interpolation import InterpolationError, interpolate, required
from hotseat.envfile.syntax import EnvFileError, assign, parse

ENV = {"SET": "value", "EMPTY": "", "OTHER": "other"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$SET and ${SET}", "value and value"),
        ("${EMPTY:-default} ${EMPTY-default}|", "default |"),
        ("${UNSET:-default} ${UNSET-default}", "default default"),
        ("${UNSET:-${OTHER:-x}}", "other"),
        ("${UNSET:-${ALSO_UNSET:-a}b}", "ab"),
        ("${SET:+instead}${UNSET:+instead}${EMPTY+there}", "insteadthere"),
        ("${SET:?message}", "value"),
        ("$$SET $${SET}", "$SET ${SET}"),
        ("${UNSET}|$UNSET|", "||"),
        ("100$ and $5", "100$ and $5"),
    ],
)
def test_variables_are_replaced_as_compose_does(text: str, expected: str) -> None:
    assert interpolate(text, ENV) == expected


@pytest.mark.parametrize("text", ["${UNSET:?say it}", "${EMPTY:?say it}", "${UNSET?say it}"])
def test_a_required_variable_that_is_not_set_is_an_error_with_its_message(text: str) -> None:
    with pytest.raises(InterpolationError, match="say it"):
        interpolate(text, ENV)


@pytest.mark.parametrize("text", ["${SET", "${}", "${1}", "${SET/x/y}"])
def test_a_broken_variable_is_an_error_without_any_value(text: str) -> None:
    with pytest.raises(InterpolationError) as caught:
        interpolate(text, ENV)
    assert "value" not in str(caught.value)


def test_required_names_are_found_at_any_depth() -> None:
    assert list(required("${A:?x} ${B:-${C:?y}} $${D:?z} ${E?}")) == ["A", "C", "E"]


FILE = """# a comment
PLAIN=text # and a comment
export EXPORTED=yes
SINGLE='as $IT is'
DOUBLE="a $PLAIN\\nline"
EMPTY=
HASH=a#b
SPACED = around
SEVERAL="two
lines"
FILLED=${PLAIN}-${MISSING:-none}
"""


def test_a_file_is_read() -> None:
    assert parse(FILE, {}) == {
        "PLAIN": "text",
        "EXPORTED": "yes",
        "SINGLE": "as $IT is",
        "DOUBLE": "a text\nline",
        "EMPTY": "",
        "HASH": "a#b",
        "SPACED": "around",
        "SEVERAL": "two\nlines",
        "FILLED": "text-none",
    }


def test_compose_reads_the_same(tmp_path: Path) -> None:
    compose = compose_binary()
    names = list(parse(FILE, {}))
    (tmp_path / ".env").write_text(FILE, encoding="utf-8")
    (tmp_path / "compose.yaml").write_text(
        json.dumps({"services": {"x": {"image": "x", "environment": {n: f"${{{n}}}" for n in names}}}}),
        encoding="utf-8",
    )
    done = subprocess.run(
        [compose, "config", "--format", "json"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    theirs = json.loads(done.stdout)["services"]["x"]["environment"]
    # Compose prints a dollar sign doubled, as its files want it.
    assert {name: value.replace("$$", "$") for name, value in theirs.items()} == parse(FILE, {})


@pytest.mark.parametrize(
    ("text", "line"), [("A=1\nnot a line\n", 2), ("A='open\n", 1), ('A="x" y!\n', 1), ("A=${B:?secret}\n", 1)]
)
def test_a_bad_line_is_named_without_its_value(text: str, line: int) -> None:
    with pytest.raises(EnvFileError) as caught:
        parse(text, {})
    assert caught.value.line == line
    assert str(caught.value).startswith(f"line {line}: ")


def test_changes_keep_every_other_line() -> None:
    text = "# keys\nA=1\nB=2 # note\n#A=commented\nA=again\n"
    assert assign(text, {"A": "new", "B": None, "C": "3"}) == "# keys\nA=new\n#A=commented\nC=3\n"


def test_a_value_that_needs_quotes_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="A would need quotes") as caught:
        assign("", {"A": "two words"})
    assert "two words" not in str(caught.value)


def test_a_private_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    disk.create_private(path, "A=1\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        disk.create_private(path, "A=2\n")
    assert path.read_text(encoding="utf-8") == "A=1\n"


def test_a_replaced_file_is_private_whole_and_keeps_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "real.env", tmp_path / ".env"
    path.write_text("A=1\n", encoding="utf-8")
    path.chmod(0o644)
    link.symlink_to(path)
    disk.replace_private(link, "A=2\n")
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8") == "A=2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == [".env", "real.env"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n", encoding="utf-8")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        disk.replace_private(path, "A=2\n")
    assert path.read_text(encoding="utf-8") == "A=1\n"
    assert [one.name for one in tmp_path.iterdir()] == [".env"]


def test_the_named_file_lies_below_the_environment(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=file\nB=file\n", encoding="utf-8")
    seen = disk.environment({"HOTSEAT_ENV_FILE": str(path), "A": "process"})
    assert (seen["A"], seen["B"]) == ("process", "file")
    assert disk.environment({"A": "process"}) == {"A": "process"}
