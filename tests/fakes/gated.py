"""Programs that are held by the gate: a pretended vLLM and a pretended torch, as real processes.

Their packages are written into a folder; what they do is what the gate hooks into, and ``device used`` says
that the device was used.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hotseat.gate.gate_folder import GateFolder

LIMIT_S = 60.0

_FILES = {
    "vllm/__init__.py": "",
    "vllm/v1/__init__.py": "",
    "vllm/v1/worker/__init__.py": "",
    "vllm/v1/worker/worker_base.py": """
        class WorkerWrapperBase:
            def __init__(self):
                self.vllm_config = None

            def init_device(self):
                print("device used", flush=True)
        """,
    "vllm/plugins.py": """
        from importlib.metadata import entry_points


        def load_general_plugins():
            for plugin in entry_points(group="vllm.general_plugins"):
                plugin.load()()
        """,
    "vllm/serve.py": """
        import multiprocessing
        import os
        import signal
        import sys

        from vllm.plugins import load_general_plugins


        def engine():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as vLLM's engine does while it is built
            load_general_plugins()
            load_general_plugins()
            from vllm.v1.worker.worker_base import WorkerWrapperBase

            print("engine", os.getpid(), flush=True)
            WorkerWrapperBase().init_device()


        if __name__ == "__main__":
            load_general_plugins()
            context = multiprocessing.get_context("spawn")
            workers = [context.Process(target=engine) for _ in range(int(sys.argv[1]))]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            print("served", flush=True)
            sys.exit(max(worker.exitcode != 0 for worker in workers))
        """,
    "server.py": """
        import http.server
        import json
        import os
        import sys

        import torch

        port, book = sys.argv[1:3]


        def note(event):
            with open(book, "a") as lines:
                lines.write(f"{event} {os.environ['HOTSEAT_MODEL']} {os.getpid()}\\n")


        note("imported")
        if "dies" in sys.argv and not os.path.exists(os.environ["HOTSEAT_GATE"] + "/go"):
            sys.exit(3)  # while it is prepared
        if "cpu" in sys.argv:
            pass
        elif "ungated" not in sys.argv or os.path.exists(os.environ["HOTSEAT_GATE"] + "/go"):
            torch.cuda.synchronize()
        note("device")


        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.answer({})

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self.answer({"id": f"fake-{os.getpid()}", "model": os.environ["HOTSEAT_MODEL"]})

            def answer(self, body):
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass


        host = "0.0.0.0" if "everywhere" in sys.argv else "127.0.0.1"
        http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
        """,
    "torch/__init__.py": "from torch import cuda\n",
    "torch/cuda/__init__.py": """
        _initialized = False


        def is_initialized():
            return _initialized


        def _is_in_bad_fork():
            return False


        def _lazy_init():
            global _initialized
            if not _initialized:
                print("device used", flush=True)
            _initialized = True


        def synchronize():
            _lazy_init()
        """,
}


def write_packages(folder: Path, *, without: str = "") -> Path:
    """Write the pretended packages; ``without``: a file of them that is left empty."""
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if name == without else textwrap.dedent(text))
    return folder


def served(packages: Path, book: Path, *words: str, **terms: Any) -> dict[str, Any]:
    """A model of hotseat's configuration: a server on the pretended torch, of which two do not fit.

    It writes ``imported MODEL PID`` and ``device MODEL PID`` into ``book``. ``words``: ``dies`` while it is
    prepared; ``ungated``: it does not use torch while it is prepared, and so is not held; ``cpu``: it never
    uses the GPU by torch.
    """
    return {
        "command": [sys.executable, str(packages / "server.py"), "{port}", str(book), *words],
        "footprint": 0.6,
        "standby": "demand",
        "residency": "0s",
        "stop_grace": "5s",
        **terms,
    }


class Gated:
    """A program that runs with a gate, in a session of its own as the launcher starts it."""

    def __init__(self, gate: GateFolder, packages: Path, command: Sequence[str], **env: str) -> None:
        """``command``: arguments of Python."""
        self.gate = gate
        variables = {**os.environ, **gate.environment(str(packages)), "PYTHONUNBUFFERED": "1", **env}
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=packages,
        )
        self.output = ""

    def __enter__(self) -> Gated:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def read_until(self, words: str, limit_s: float = LIMIT_S) -> str:
        """Read its output until it has said this; returns all of it. Raises ``AssertionError``."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while words not in self.output:
            ready, _, _ = select.select([descriptor], [], [], limit_s)
            data = os.read(descriptor, 65536) if ready else b""
            assert data, f"{words!r} never came; it said:\n{self.output}"
            self.output += data.decode()
        return self.output

    def rest(self) -> tuple[int, str]:
        """Wait for its end: its exit code and all of its output."""
        assert self.process.stdout is not None
        self.output += self.process.stdout.read().decode()
        return self.process.wait(LIMIT_S), self.output
