"""The rule for tests that need a command of the system: ``@pytest.mark.system("nginx", "caddy")``.

Where a command is missing, the test is skipped with a reason on a developer's machine. Under
``HOTSEAT_CI=1`` nothing is skipped: a missing command, like any other skip, is a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator

import pytest


def strict() -> bool:
    """Whether a skip is a failure."""
    return os.environ.get("HOTSEAT_CI") == "1"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose commands are missing."""
    needs = {need for mark in item.iter_markers("system") for need in mark.args}
    if missing := sorted(need for need in needs if shutil.which(need) is None):
        pytest.skip(f"needs {', '.join(missing)} (.ci/packages.txt lists the packages)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, turn a skip into a failure with the skip's reason."""
    report = yield
    # An expected failure (xfail) is reported as skipped too, but it has run.
    if strict() and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"skipped, which CI does not allow (HOTSEAT_CI=1): {call.excinfo and call.excinfo.value}"
        )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module that skips itself (``pytest.importorskip``)."""
    report = yield
    if strict() and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow (HOTSEAT_CI=1): {reason}"
    return report
