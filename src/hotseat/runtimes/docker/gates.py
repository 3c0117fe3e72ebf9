"""The gates of containers: a folder for each below ``state_dir``, mounted by its Compose file.

A container has a gate if its environment sets ``HOTSEAT_GATE`` to where it sees that folder, and has the
plugin on its ``PYTHONPATH``. Whether that is so is shown by its first start; without, it is started plainly.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec, StandbyMode
from hotseat.gate.gate_folder import GATE, GateFolder
from hotseat.gate.known_gates import KnownGates
from hotseat.runtimes.base import LaunchError
from hotseat.runtimes.docker import inspection
from hotseat.runtimes.docker.spec import docker_spec

log = logging.getLogger(__name__)


class ContainerGates:
    """The gates of one state directory; none without one."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.known = KnownGates(folder / "known.json") if folder is not None else None

    def of(self, model: ModelSpec) -> GateFolder | None:
        """Return the gate of the model's container, whether it exists or not."""
        return None if self._folder is None else GateFolder(self._folder / docker_spec(model).container)

    def make(self, model: ModelSpec, found: Mapping[str, Any], *, opened: bool) -> None:
        """Make the gate of a container that is about to start, where it asks for one.

        Raises ``LaunchError`` where a closed one cannot be made.
        """
        gate, problem = self.of(model), None
        if gate is None or model.scheduling.standby is StandbyMode.OFF:
            problem = "it stands by at no gate"
        elif GATE not in inspection.mounts(found).env:
            problem = f"its environment does not set {GATE}"
        else:
            try:
                gate.make(opened=opened)
            except OSError as error:
                problem = f"its gate could not be made: {error.strerror} ({gate.path})"
                if opened:
                    log.warning("container of model %s starts without a gate: %s", model.name, problem)
        if problem is not None and not opened:
            raise LaunchError(Reason(summary=problem))

    def is_closed(self, model: ModelSpec) -> bool:
        """Return whether the container stands, or will stand, before a closed gate."""
        gate = self.of(model)
        return gate is not None and gate.exists and not gate.opened

    def clear(self, model: ModelSpec) -> None:
        """Forget the gate of a container that has ended: one that others start then runs plainly."""
        gate = self.of(model)
        if gate is not None and gate.exists:
            try:
                gate.clear()
            except OSError as error:
                log.warning("the gate of model %s could not be cleared: %s", model.name, error.strerror)
