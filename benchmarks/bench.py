"""Shared state of all rows: the targets, the load process and the recorded figures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import median
from benchmarks.proxies import ROOT, Cores, Target, Unavailable

Result = dict[str, float]


class Load:
    """Load generator as a process that takes orders."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def do(self, job: str, target: Target, **more: object) -> Result:
        """Run one job on one target to its end. Raises ``Unavailable`` if the load generator died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": job, **target.order(**more)}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Unavailable(f"the load generator died during {job!r} on {target.name}")
        result: Result = json.loads(line)
        return result


@contextmanager
def load_process(cores: Cores) -> Iterator[Load]:
    """Run a load generator on its core."""
    command = ["taskset", "-c", str(cores.load), sys.executable, "-m", "benchmarks.load"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        try:
            yield Load(process)
        finally:
            process.kill()


@dataclass(slots=True)
class Bench:
    """One run of all chosen rows."""

    cores: Cores
    folder: Path
    load: Load
    direct: Target
    targets: list[Target]
    policies: bool
    quick: bool = False
    say: Callable[[str], None] = print
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By metric, then by target: one value for each round."""

    def record(self, metric: str, target: str, value: float) -> None:
        """Record one figure of one round."""
        self.figures.setdefault(metric, {}).setdefault(target, []).append(value)

    def rounds(self, full: int) -> int:
        """Number of rounds for a row: a third of ``full`` in quick mode."""
        return max(1, full // 3) if self.quick else full

    def interleave(
        self, targets: list[Target], rounds: int, once: Callable[[Target], Result]
    ) -> Iterator[dict[str, Result]]:
        """Measure all targets in turn, round by round, each time starting with another one; yields rounds.

        A temporary disturbance of the machine then affects all targets, and the median of the rounds
        suppresses it.
        """
        for number in range(rounds):
            at = number % len(targets)
            found = {}
            for target in targets[at:] + targets[:at]:
                found[target.name] = result = once(target)
                if result.get("errors"):
                    self.say(f"  {target.name}: {result['errors']:.0f} errors")
            yield found

    def plain(self) -> list[Target]:
        """Targets that do not rewrite requests."""
        return [target for target in self.targets if not target.name.endswith("+rewrite")]

    def medians(self) -> dict[str, dict[str, float]]:
        """Median of the rounds, by metric and target."""
        return {
            metric: {target: median(values) for target, values in by_target.items()}
            for metric, by_target in self.figures.items()
        }
