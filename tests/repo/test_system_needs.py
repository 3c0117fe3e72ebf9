"""Tests whose system command is missing are skipped locally and fail in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TESTS = """
import pytest

@pytest.mark.system("no-such-command-anywhere")
def test_missing():
    assert False, "must not run"

@pytest.mark.system("sh")
def test_there():
    pass

@pytest.mark.skip("for no good reason")
def test_skipped():
    pass

@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    assert False
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("HOTSEAT_CI", raising=False)
    pytester.makeini("[pytest]\nmarkers =\n  system: needs commands\n")
    return pytester


def run(inner: pytest.Pytester) -> pytest.RunResult:
    return inner.runpytest_inprocess("-p", "system_needs", "-p", "no:cacheprovider", "-rs")


def test_locally_a_missing_command_is_a_skip_that_names_it(inner: pytest.Pytester) -> None:
    inner.makepyfile(TESTS)
    result = run(inner)
    result.assert_outcomes(passed=1, skipped=2, xfailed=1)
    result.stdout.fnmatch_lines(["*needs no-such-command-anywhere*"])


def test_in_ci_every_skip_is_a_failure(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTSEAT_CI", "1")
    inner.makepyfile(TESTS)
    result = run(inner)
    result.assert_outcomes(passed=1, errors=2, xfailed=1)
    result.stdout.fnmatch_lines(["*needs no-such-command-anywhere*", "*for no good reason*"])


def test_in_ci_a_module_that_skips_itself_is_an_error(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTSEAT_CI", "1")
    inner.makepyfile("import pytest\npytest.importorskip('no_such_module')\ndef test_it(): pass")
    result = run(inner)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*CI does not allow*no_such_module*"])


def test_test_modules_have_unique_names() -> None:
    """Modules of the same name in two folders cannot be collected together."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
