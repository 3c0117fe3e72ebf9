"""Fuzz one target, or each in turn, with atheris.

    PYTHONPATH=tests python -m fuzz [TARGET …] [--seconds 60]

Inputs that reach new code are kept in .fuzz/TARGET, where the next run begins; an input that breaks
something is written to .fuzz/TARGET-crash-…. libFuzzer's last lines show executions and coverage.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

TARGETS = ("edge", "gate", "bodies", "forms", "paths", "servers", "metrics")
CORPORA = Path(".fuzz")
MAX_BYTES = 4096
"""Of one input."""


def main() -> int:
    """Run each target in a process of its own: libFuzzer ends the process that it runs in."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        fuzz(options.targets[0], options.seconds)
    failed = 0
    for target in options.targets or TARGETS:
        print(f"== {target}", flush=True)
        command = [sys.executable, "-m", "fuzz", target, "--seconds", str(options.seconds), "--here"]
        failed += subprocess.run(command, check=False).returncode != 0
    return int(failed > 0)


def fuzz(name: str, seconds: int) -> None:
    """Fuzz a target in this process. Does not return."""
    import importlib

    import atheris

    with atheris.instrument_imports(
        include=["hotseat.gateway", "hotseat.logs", "hotseat.telemetry.metrics", "python_multipart"]
    ):
        target = importlib.import_module(f"fuzz.{name}")
    corpus = CORPORA / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.SEEDS):
        (corpus / f"seed-{number}").write_bytes(seed)
    dictionary = CORPORA / f"{name}.dict"
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in target.WORDS))
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        f"-dict={dictionary}",
        f"-artifact_prefix={CORPORA}/{name}-",
        "-timeout=20",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.one)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    sys.exit(main())
