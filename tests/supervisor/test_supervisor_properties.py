"""The promises again, over supervisor and core together. ``HOTSEAT_THOROUGH=1`` looks longer."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from supervisor_machine import Histories

_quick = settings(
    max_examples=60,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
_thorough = settings(_quick, max_examples=3000, stateful_step_count=70, derandomize=False)

TestHistories = Histories.TestCase
TestHistories.settings = _thorough if os.environ.get("HOTSEAT_THOROUGH") else _quick
