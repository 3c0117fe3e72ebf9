"""All of the doctor's checks, in the order in which a person would mend things."""

from __future__ import annotations

from collections.abc import Iterator

from hotseat.stack.doctor.check import CheckResult
from hotseat.stack.doctor.context import DoctorContext
from hotseat.stack.doctor.engine import examine_engine
from hotseat.stack.doctor.machine import examine_host
from hotseat.stack.doctor.plain import examine_plain, is_plain
from hotseat.stack.doctor.setup import examine_setup


def examine(patient: DoctorContext) -> Iterator[CheckResult]:
    """Look at everything; a broken part never hides another."""
    if is_plain(patient):
        yield from examine_plain(patient)
        return
    yield from examine_setup(patient)
    yield from examine_engine(patient)
    yield from examine_host(patient)
