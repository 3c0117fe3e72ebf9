"""All of the doctor's checks, in the order in which a person would mend things."""

from __future__ import annotations

from collections.abc import Iterator

from hotseat.stack.examine_engine import examine_engine
from hotseat.stack.examine_host import examine_host
from hotseat.stack.examine_plain import examine_plain, is_plain
from hotseat.stack.examine_setup import examine_setup
from hotseat.stack.health import CheckResult
from hotseat.stack.patient import DoctorContext


def examine(patient: DoctorContext) -> Iterator[CheckResult]:
    """Look at everything; a broken part never hides another."""
    if is_plain(patient):
        yield from examine_plain(patient)
        return
    yield from examine_setup(patient)
    yield from examine_engine(patient)
    yield from examine_host(patient)
