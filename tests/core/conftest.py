"""Under mutation testing (``make mutants``) a test that runs away is ended after some CPU time."""

from __future__ import annotations

import os
import resource
import time

import pytest

CPU_S = 20


@pytest.fixture(scope="session", autouse=True)
def bounded() -> None:
    """mutmut runs each mutant in a process of its own; its own bound is in wall time, for a quiet machine."""
    if "__mutmut_" in os.environ.get("MUTANT_UNDER_TEST", ""):
        limit = int(time.process_time()) + CPU_S
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
