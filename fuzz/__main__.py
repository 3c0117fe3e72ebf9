"""Fuzz one target, or each in turn, with atheris.

    PYTHONPATH=tests python -m fuzz [TARGET …] [--seconds 60]

What was found interesting is kept below .fuzz/TARGET and is where the next run begins; what broke
something is written to .fuzz/TARGET-crash-…. libFuzzer's last lines tell executions and coverage.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

TARGETS = ("edge", "gate", "bodies", "forms", "paths")
KEPT = Path(".fuzz")
LONGEST = 4096
"""Bytes of one input."""


def main() -> int:
    """Run the targets, each in a process of its own (libFuzzer ends the one that it runs in)."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        fuzz(asked.targets[0], asked.seconds)
    failed = 0
    for target in asked.targets or TARGETS:
        print(f"== {target}", flush=True)
        words = [sys.executable, "-m", "fuzz", target, "--seconds", str(asked.seconds), "--here"]
        failed += subprocess.run(words, check=False).returncode != 0
    return int(failed > 0)


def fuzz(name: str, seconds: int) -> None:
    """Does not return."""
    import importlib

    import atheris

    with atheris.instrument_imports(include=["hotseat.gateway", "hotseat.logs", "python_multipart"]):
        target = importlib.import_module(f"fuzz.{name}")
    corpus = KEPT / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.SEEDS):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = KEPT / f"{name}.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.WORDS))
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-dict={words}",
        f"-artifact_prefix={KEPT}/{name}-",
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
