"""The nine promises over random histories. ``HOTSEAT_THOROUGH=1`` looks longer, and elsewhere each time.

``HOTSEAT_BRIEF=1`` (``make mutants``) looks shorter, and shows what it found as it found it.
"""

from __future__ import annotations

import os

from core_machine import Histories
from hypothesis import HealthCheck, Phase, settings

_quick = settings(
    max_examples=90,
    stateful_step_count=50,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
_thorough = settings(_quick, max_examples=4000, stateful_step_count=80, derandomize=False)

_brief = settings(_quick, max_examples=15, stateful_step_count=40, phases=(Phase.generate,))

TestHistories = Histories.TestCase
TestHistories.settings = (
    _thorough if os.environ.get("HOTSEAT_THOROUGH") else _brief if os.environ.get("HOTSEAT_BRIEF") else _quick
)
