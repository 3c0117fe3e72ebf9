"""The runtime ``process``: a model is a program that hotseat runs on this machine."""

from __future__ import annotations

from pathlib import Path

from hotseat.runtimes import devices
from hotseat.runtimes.base import Runtime
from hotseat.runtimes.kind import NoKeys, RuntimeKind, WrittenLaunch
from hotseat.runtimes.process.keys import ProcessKeys
from hotseat.runtimes.process.spec import ProcessSpec


def _resolve(written: WrittenLaunch[ProcessKeys, NoKeys]) -> ProcessSpec:
    model, at, problems = written.model, written.path, written.problems
    command = model.command
    if command is None:
        if not problems.tainted((*at, "command")) and at not in problems.bad:
            problems.problem(at, "does not say what to start", f"add {' or '.join(written.examples)}")
        command = ("",)
    elif not problems.tainted((*at, "command")) and not any(
        "{port}" in word for word in (*command, *model.env.values())
    ):
        problems.problem(
            (*at, "command"),
            "does not contain {port}: hotseat chooses the port that the program must listen on",
            "pass it to the program, for example with --port {port}",
        )
    return ProcessSpec(
        command=command,
        env=_with_devices(model.env, written.devices),
        cwd=written.file(model.cwd) if model.cwd else None,
    )


def _with_devices(env: dict[str, str], wanted: tuple[str, ...] | None) -> dict[str, str]:
    """Return the variables with those that show the program its devices and no others."""
    if wanted is None:
        return env
    order = {devices.ORDER: devices.BY_BUS} if any(map(devices.is_index, wanted)) else {}
    return {**order, **env, devices.VISIBLE[0]: ",".join(wanted)}


def _create(state_dir: Path) -> Runtime:
    from hotseat.runtimes.process.runtime import ProcessRuntime

    return ProcessRuntime(state_dir)


KIND = RuntimeKind(
    name="process",
    model_keys=ProcessKeys,
    top_keys=NoKeys,
    selecting_key="command",
    example="command: [program, arguments…]",
    resolve=_resolve,
    create=_create,
)
