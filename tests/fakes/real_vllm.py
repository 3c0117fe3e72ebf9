"""The real vLLM (its CPU build, a tiny random model) as models of hotseat, and how tests ask them."""

from __future__ import annotations

import http.client
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from fakes.container_hotseat import Boxed
from fakes.dockerd import Dockerd
from fakes.hotseat import Hotseat
from hotseat.runtimes.process import procfs
from hotseat.runtimes.process.launch_records import PREFIX

HOME = Path(__file__).resolve().parents[2] / ".vllm"
TINY = HOME / "tiny"
LIMIT_S = 600.0
"""A start takes half a minute on two idle cores, and many times that on busy ones."""
LONG = 1900
"""Tokens: seconds of generation, and still within the model's context."""
IMAGE = "hotseat-test/vllm:1"
MODEL = PREFIX + "MODEL"
_PROGRAM = (str(HOME / "bin/python"), "-m", "vllm.entrypoints.openai.api_server")
_ENV = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_SERVER_DEV_MODE": "1",  # the sleep endpoints; --enable-sleep-mode refuses to start on a CPU
    "OMP_NUM_THREADS": "1",
}
_FLAGS = ("--served-model-name", "tiny", "--max-num-seqs", "4", "--enforce-eager")
_FROM_HOST = ("/usr", "/lib", "/lib64", "/bin")


def vllm(*flags: str, model: str | Path = TINY, kv_gib: int = 1, **terms: Any) -> dict[str, Any]:
    """A model of hotseat's configuration that the real vLLM serves; two do not fit together."""
    return {
        "command": [
            *(*_PROGRAM, "--model", str(model), *_FLAGS, *flags),
            *("--host", "127.0.0.1", "--port", "{port}"),
        ],
        "env": {
            **_ENV,
            "VLLM_CPU_KVCACHE_SPACE": str(kv_gib),
            "VLLM_CACHE_ROOT": str(HOME / "cache"),
        },
        "footprint": 0.9,
        "start_timeout": "10m",
        "stop_grace": "30s",
        **terms,
    }


def add_image(dockerd: Dockerd, folder: Path) -> None:
    """Import an image of vLLM that holds nothing: its containers see this machine's own files.

    Its arguments are flags of vLLM's server.
    """
    root = folder / "root.tar"
    with tarfile.open(root, "w") as tar:
        for name in ("dev", "etc", "proc", "root", "sys", "tmp", *(path.strip("/") for path in _FROM_HOST)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        users = b"root:x:0:0:root:/root:/bin/sh\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size, entry.mode = len(users), 0o644
        tar.addfile(entry, io.BytesIO(users))
    env = {
        **_ENV,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "PATH": os.defpath,
        "PYTHONUNBUFFERED": "1",
        "VLLM_CACHE_ROOT": "/tmp/vllm",
    }
    changes = [f"ENV {name}={value}" for name, value in env.items()]
    changes.append(f"ENTRYPOINT {json.dumps(list(_PROGRAM))}")
    options = [part for change in changes for part in ("--change", change)]
    dockerd.docker("import", *options, str(root), IMAGE)


class BoxedVllm(Boxed):
    """A running launcher whose models are containers of that image."""

    def create(self, name: str, options: list[str]) -> None:
        """Make the container; ``options`` are further flags of vLLM."""
        tell = "import sys; print(sys.base_prefix)"
        python = subprocess.run([_PROGRAM[0], "-c", tell], capture_output=True, text=True, check=True).stdout
        seen = {*filter(os.path.exists, _FROM_HOST), str(HOME), python.strip()}
        mounts = [part for path in sorted(seen) for part in ("--volume", f"{path}:{path}:ro")]
        words = [*mounts, "--shm-size", "1g", IMAGE, "--model", str(TINY), *_FLAGS, *options]
        self.dockerd.docker("create", "--name", name, *words)


def hello(**more: Any) -> dict[str, Any]:
    """The body of a chat."""
    return {"messages": [{"role": "user", "content": "Hello"}], **more}


def stream(
    hotseat: Hotseat, route: str, tokens: int, path: str = "/v1/chat/completions", **more: Any
) -> http.client.HTTPResponse:
    """The response to a chat that streams so many tokens; its headers have come."""
    connection = http.client.HTTPConnection("127.0.0.1", hotseat.port, timeout=hotseat.limit_s)
    body = hello(model=route, stream=True, max_tokens=tokens, ignore_eos=True, **more)
    head = {"Content-Type": "application/json"}
    connection.request("POST", f"/{route}{path}", json.dumps(body), head)
    return connection.getresponse()


def chunks(raw: bytes) -> list[dict[str, Any]]:
    """The objects of a finished stream; it must have been ended properly."""
    events = [line[6:] for line in raw.decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]", raw[-1000:]
    return [json.loads(event) for event in events[:-1]]


def errors(raw: bytes) -> list[dict[str, Any]]:
    """The errors in a stream."""
    return [json.loads(line[6:]) for line in raw.splitlines() if line.startswith(b'data: {"error"')]


def chat(hotseat: Hotseat, route: str) -> None:
    """Ask for four tokens and get them, starting whatever must be started."""
    answer = hotseat.ask(route, **hello(max_tokens=4, ignore_eos=True))
    assert answer.status == 200, answer.body
    assert answer.json["usage"]["completion_tokens"] == 4


def phases(hotseat: Hotseat, model: str, since: int) -> list[str]:
    """The phases of its start that hotseat's log tells."""
    told = hotseat.lines[since:]
    return [line["phase"] for line in told if line["event"] == "loading" and line["model"] == model]


def output(hotseat: Hotseat, model: str) -> list[str]:
    """What the model's runs wrote."""
    answer = hotseat.send("GET", f"/logs/{model}?lines=5000")
    assert answer.status == 200, answer.body
    lines = answer.json["lines"]
    assert isinstance(lines, list)
    return lines


def processes_of(hotseat: Hotseat, model: str) -> dict[int, str]:
    """The processes of a model's run, and what they call themselves."""
    pids = [pid for pid in hotseat.engines() if procfs.environ(pid).get(MODEL) == model]
    return {pid: Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in pids}


def process_of(hotseat: Hotseat, model: str, title: str) -> int:
    """The one process of a model's run that calls itself so."""
    [pid] = [pid for pid, name in processes_of(hotseat, model).items() if title in name]
    return pid
