"""The check of driver calls tells a server that waits from one that does not, over the stand-ins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.gated import LIMIT_S, write_packages

pytestmark = pytest.mark.system("cc")

ROOT = Path(__file__).resolve().parents[2]
CALL = "import ctypes; ctypes.CDLL('libcuda.so.1').cuInit(0)"
WAITS = f"import torch; torch.cuda.synchronize(); {CALL}"
DOES_NOT_WAIT = f"{CALL}; import torch; torch.cuda.synchronize(); {CALL}"
USES_NO_DRIVER = "import torch; torch.cuda.synchronize()"


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        (WAITS, 0, "before the go: no driver call; after it: ['libcuda cuInit']"),
        (DOES_NOT_WAIT, 1, "before the go: ['libcuda cuInit']"),
        (USES_NO_DRIVER, 1, "FAILED"),
        ("pass", 1, "it never stood by"),
    ],
)
def test_the_check_finds_calls_before_the_go(program: str, status: int, words: str, tmp_path: Path) -> None:
    packages = write_packages(tmp_path)
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "gpu" / "check_driver_calls.py", sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{packages}:{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, words in done.stdout) == (status, True), done.stdout + done.stderr
