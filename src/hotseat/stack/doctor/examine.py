"""All checks of ``hotseat doctor``, in the order in which problems should be fixed."""

from __future__ import annotations

from collections.abc import Iterator

from hotseat.stack.doctor.check import CheckResult
from hotseat.stack.doctor.context import DoctorContext
from hotseat.stack.doctor.engine import check_engine
from hotseat.stack.doctor.machine import check_machine
from hotseat.stack.doctor.plain import check_plain, is_plain
from hotseat.stack.doctor.setup import check_setup


def examine(context: DoctorContext) -> Iterator[CheckResult]:
    """Run all checks; a failure does not prevent the others from running."""
    if is_plain(context):
        yield from check_plain(context)
        return
    yield from check_setup(context)
    yield from check_engine(context)
    yield from check_machine(context)
