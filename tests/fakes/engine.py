"""A fake inference server, run as a real process: standard library only, up in a few hundredths of a second.

As vLLM does, it binds its port at once and refuses connections until it is ready; faults are named
options. Tests make its command line with ``command()``:

    ProcessSpec(command=command("--start-s", "0.3", "--ignores-stop"))

Further paths: ``/v1/echo`` answers with the request as it came; ``/sleep``, ``/wake_up`` and
``/is_sleeping`` follow vLLM's sleep protocol (a sleeping server parks requests silently).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

FAILURE_LINE = (
    "ValueError: Free memory on device (2.1/24.0 GiB) on startup is less than desired GPU memory "
    "utilization (0.9, 21.6 GiB). Decrease GPU memory utilization or reduce GPU memory used by other "
    "processes."
)
FAILURE_ECHO = (
    *(f'  File "/opt/venv/lib/python3.11/site-packages/vllm/fake.py", line {n}, in fake' for n in range(60)),
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
)
"""What vLLM writes after the cause: how its server heard of its engine's end."""
LOADED_LINES = (
    "Loading weights took 0.01 seconds",
    "Model loading took 0.1 GiB memory and 0.02 seconds",
    "torch.compile took 0.01 s in total",
    "Graph capturing finished in 1 secs, took 0.01 GiB",
    "init engine (profile, create kv cache, warmup model) took 0.05 seconds",
    "Starting vLLM server on http://127.0.0.1:{port}",
)

CUT_WITHIN_S = 1.0
"""How long it lives on when it was told to end, so that answers under way get their last words."""
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
MOODS = ("health-hangs", "health-503", "hangs", "500", "dead", "aborts", "hungry")

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def command(*options: str, name: str = "fake") -> tuple[str, ...]:
    """The command line of a fake server with these options; ``{port}`` is left for the runtime to fill in."""
    return (sys.executable, "-I", "-S", __file__, "--port", "{port}", "--name", name, *options)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="engine")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", nargs="+", default=["fake"], help="served model names")
    parser.add_argument("--api-key", help="wanted as a Bearer token under /v1")
    parser.add_argument("--model", help="as vLLM: it must be in the hub's cache below HF_HOME")
    parser.add_argument("--revision")
    parser.add_argument("--start-s", type=float, default=0.0, help="from launch to ready")
    parser.add_argument("--tokens", type=int, default=5, help="tokens of an answer")
    parser.add_argument("--token-interval-s", type=float, default=0.0)
    parser.add_argument("--service-s", type=float, default=0.0, help="before an answer's first byte")
    parser.add_argument("--never-ready", action="store_true", help="never listens")
    parser.add_argument("--ready-when", metavar="FILE", help="loads until this file is there")
    parser.add_argument("--health-hangs", action="store_true", help="/health accepts and never answers")
    parser.add_argument("--health-status", type=int, default=200)
    parser.add_argument("--resets", action="store_true", help="accepts and resets every connection")
    parser.add_argument("--ignores-stop", action="store_true", help="ignores SIGTERM")
    parser.add_argument(
        "--deaf-while-loading", action="store_true", help="swallows SIGTERM until it is ready"
    )
    parser.add_argument("--exits-after", type=float, metavar="S", help="exits so long after it was ready")
    parser.add_argument("--exit-code", type=int, default=0)
    parser.add_argument("--start-fails", action="store_true", help="writes a failure line and exits with 1")
    parser.add_argument("--dies-in-stream", type=int, metavar="N", help="SIGKILLs itself after N chunks")
    parser.add_argument("--hangs", action="store_true", help="healthy, but never answers a generation")
    parser.add_argument("--spawns-child", action="store_true", help="has a deaf child in its group")
    parser.add_argument("--child-escapes", action="store_true", help="has a deaf child in another session")
    parser.add_argument("--says", action="append", default=[], help="writes this line at once")
    parser.add_argument("--overlap-log", metavar="FILE", help="JSON lines: start, stop, and overlap")
    parser.add_argument("--wake-fails", action="store_true")
    parser.add_argument("--tells-calls", action="store_true", help="writes a line for every call of the API")
    parser.add_argument("--sleep-fails", action="store_true")
    parser.add_argument("--sleep-s", type=float, default=0.0, help="how long it takes to fall asleep")
    parser.add_argument("--wake-s", type=float, default=0.0, help="how long a wake takes")
    parser.add_argument(
        "--fails-until", metavar="FILE", help="a start fails unless this file is there; it makes the file"
    )
    parser.add_argument(
        "--mood", metavar="FILE", help=f"words in this file are faults from now on: {', '.join(MOODS)}"
    )
    return parser.parse_args()


def main() -> None:
    """Serve until a signal comes."""
    args = arguments()
    engine = Engine(args)
    engine.install_signals()
    if args.overlap_log:
        engine.take_gpu(args.overlap_log)
    for line in args.says:
        say(line)
    if args.spawns_child or args.child_escapes:
        spawn_child(escape=args.child_escapes)
    engine.load()
    engine.serve()


def say(line: str) -> None:
    """A line of the log, where it can be written: a full disk ends no server."""
    with contextlib.suppress(OSError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def spawn_child(escape: bool) -> None:
    """A process that ignores SIGTERM and outlives us; its pid goes to the log."""
    pid = os.fork()
    if pid:
        say(f"child {pid}")
        return
    if escape:
        os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A new program, so that /proc/PID/environ is its own.
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])


class Engine:
    """The server."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.ready = False
        self.ending = threading.Event()
        """It was told to end: answers under way are cut short."""
        self.under_way = 0
        self.idle = threading.Condition()
        self.asleep: set[str] = set()
        """Parts of its memory, by vLLM's names for them, that were put to sleep and not woken."""
        self.awake = threading.Event()
        self.awake.set()
        self.overlap_log: str | None = None
        self.gpu: Any = None
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((args.host, args.port))

    def install_signals(self) -> None:
        """SIGTERM and SIGINT end it, but for the faults."""

        def asked(number: int, frame: object) -> None:
            if self.args.deaf_while_loading and not self.ready:
                say("SIGTERM swallowed")
                return
            self.ending.set()
            with self.idle:
                self.idle.wait_for(lambda: self.under_way == 0, CUT_WITHIN_S)
            self.leave(0)

        signal.signal(signal.SIGINT, asked)
        signal.signal(signal.SIGTERM, signal.SIG_IGN if self.args.ignores_stop else asked)

    def take_gpu(self, path: str) -> None:
        """Hold the exclusive seat until our end, however it comes; say so when somebody else holds it."""
        self.overlap_log = path
        self.gpu = open(path + ".lock", "a")  # noqa: SIM115 (held for life: the lock goes with the process)
        try:
            fcntl.flock(self.gpu, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.note("overlap")
        self.note("start")

    def note(self, event: str) -> None:
        """A line in the overlap log."""
        if self.overlap_log:
            entry = {"event": event, "name": self.args.name[0], "pid": os.getpid(), "t": time.monotonic()}
            fd = os.open(self.overlap_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(fd, (json.dumps(entry) + "\n").encode())
            os.close(fd)

    def leave(self, code: int) -> NoReturn:
        """End at once, whatever the threads do."""
        self.note("stop")
        os._exit(code)

    def load(self) -> None:
        """Take as long as a model takes, or fail as vLLM fails."""
        deadline = time.monotonic() + self.args.start_s
        while (left := deadline - time.monotonic()) > 0:  # a swallowed signal cuts a sleep short
            time.sleep(left)
        while self.args.ready_when and not os.path.exists(self.args.ready_when):
            time.sleep(0.02)
        if self.args.fails_until and not os.path.exists(self.args.fails_until):
            os.close(os.open(self.args.fails_until, os.O_CREAT | os.O_WRONLY, 0o600))
            self.fail()
        if self.args.start_fails:
            self.fail()
        if self.args.model and not self.has_files():
            say("huggingface_hub.errors.LocalEntryNotFoundError: offline mode is enabled")
            self.leave(1)
        for line in LOADED_LINES:
            say(line.format(port=self.args.port))
        while self.args.never_ready:
            time.sleep(60)

    def fail(self) -> NoReturn:
        """As a start of vLLM fails: in many words, of which the first tell why."""
        for line in (FAILURE_LINE, *FAILURE_ECHO):
            say(line)
        self.leave(1)

    def has_files(self) -> bool:
        """Whether the weights are in the cache, whole."""
        name = "models--" + self.args.model.replace("/", "--")
        snapshots = os.path.join(os.environ["HF_HOME"], "hub", name, "snapshots")
        found = os.listdir(snapshots) if os.path.isdir(snapshots) else []
        return any(os.path.isfile(os.path.join(snapshots, one, "model.safetensors")) for one in found)

    def serve(self) -> None:
        """Listen, and give each connection a thread."""
        self.listener.listen(1024)
        self.ready = True
        say("Application startup complete.")
        if self.args.exits_after is not None:
            timer = threading.Timer(self.args.exits_after, self.leave, [self.args.exit_code])
            timer.daemon = True
            timer.start()
        while True:
            connection, _ = self.listener.accept()
            if self.args.resets:
                linger = b"\x01\0\0\0\0\0\0\0"  # on, 0 seconds: close sends RST
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.close()
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.converse, args=[connection], daemon=True).start()

    def converse(self, connection: socket.socket) -> None:
        """Answer one client until it leaves."""
        with connection, connection.makefile("rb") as source:
            try:
                while (request := read_request(source)) is not None:
                    self.answer(connection, request)
                    if request["headers"].get("connection", "").lower() == "close":
                        return
            except (BrokenPipeError, ConnectionResetError):
                say("client has gone")

    def answer(self, connection: socket.socket, request: dict[str, Any]) -> None:
        """One request."""
        path, _, query = request["path"].partition("?")
        mood = self.mood()
        if path == "/health" and request["method"] != "GET":
            respond_json(connection, 405, {"detail": "Method Not Allowed"})
        elif path in ("/health", "/ping"):
            if self.args.health_hangs or "health-hangs" in mood:
                self.hang()
            respond(connection, 503 if "health-503" in mood else self.args.health_status, b"")
        elif path == "/metrics":
            respond(connection, 200, METRICS, "text/plain; version=0.0.4")
        elif path == "/version":
            respond_json(connection, 200, {"version": "0.32.0"})
        elif path == "/load":
            respond_json(connection, 200, {"server_load": 0})
        elif path == "/is_sleeping":
            respond_json(connection, 200, {"is_sleeping": not self.awake.is_set()})
        elif path == "/sleep":
            self.tell_call(request)
            if self.args.sleep_fails:
                respond_json(connection, 500, {"error": {"message": "cannot sleep", "code": 500}})
                return
            time.sleep(self.args.sleep_s)
            self.asleep = {"weights", "kv_cache"}
            self.awake.clear()
            level = 2 if "level=2" in query else 1
            respond_json(connection, 200, {"status": "sleeping", "level": level})
        elif path == "/wake_up":
            self.tell_call(request)
            if self.args.wake_fails:
                respond_json(connection, 500, {"error": {"message": "CUDA out of memory", "code": 500}})
                return
            time.sleep(self.args.wake_s)
            self.asleep -= {query.removeprefix("tags=")} if query else self.asleep
            if not self.asleep:
                self.awake.set()
            tags = [query.removeprefix("tags=")] if query else None
            status = "sleeping" if self.asleep else "awake"
            respond_json(connection, 200, {"status": status, "tags": tags})
        elif path == "/collective_rpc":
            self.tell_call(request)
            respond_json(connection, 200, {"results": [None]})
        elif path == "/reset_prefix_cache":
            self.tell_call(request)
            respond_json(connection, 200, {"success": True})
        elif path.startswith("/v1/"):
            if self.args.tells_calls:
                self.tell_call(request)
            self.awake.wait()
            with self.counted():
                self.answer_api(connection, request, path)
        else:
            respond_json(connection, 404, {"detail": "Not Found"})

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """While an answer is under way."""
        with self.idle:
            self.under_way += 1
        try:
            yield
        finally:
            with self.idle:
                self.under_way -= 1
                self.idle.notify_all()

    def tell_call(self, request: dict[str, Any]) -> None:
        """A line of the log for a call, with its body."""
        body = request["body"].decode()
        say(f"call {request['method']} {request['path']}{' ' if body else ''}{body}")

    def mood(self) -> set[str]:
        """The faults of this moment."""
        if not self.args.mood:
            return set()
        try:
            with open(self.args.mood) as source:
                return set(source.read().split())
        except FileNotFoundError:
            return set()

    def hang(self) -> NoReturn:
        """Keep the connection and say nothing."""
        while True:
            time.sleep(60)

    def eat(self, connection: socket.socket) -> NoReturn:
        """Begin to answer, and take memory until somebody ends it."""
        connection.sendall(STREAM_HEAD)
        eaten = []
        while True:
            eaten.append(bytearray(1 << 22))

    def answer_api(self, connection: socket.socket, request: dict[str, Any], path: str) -> None:
        """What the key guards."""
        headers = request["headers"]
        if self.args.api_key and headers.get("authorization") != f"Bearer {self.args.api_key}":
            respond_json(connection, 401, {"error": "Unauthorized"})
            return
        if path == "/v1/echo":
            body = request["body"].decode("utf-8", "replace")
            respond_json(connection, 200, {**request, "body": body, "pid": os.getpid()})
            return
        if path == "/v1/models":
            data = [{"id": name, "object": "model", "owned_by": "fake"} for name in self.args.name]
            respond_json(connection, 200, {"object": "list", "data": data})
            return
        if path not in ("/v1/chat/completions", "/v1/completions", "/v1/messages"):
            respond_json(connection, 404, {"detail": "Not Found"})
            return
        if not headers.get("content-type", "").startswith("application/json"):
            words = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
            respond_error(connection, 400, words, "Bad Request")
            return
        body = json.loads(request["body"])
        if body.get("model") not in (None, "", *self.args.name):
            names = ", ".join(self.args.name)
            words = f"The model `{body['model']}` does not exist. Valid aliases: {names}."
            if path == "/v1/messages":
                error = {"type": "NotFoundError", "message": words}
                respond_json(connection, 404, {"type": "error", "error": error})
            else:
                respond_error(connection, 404, words, "NotFoundError", "model")
            return
        mood = self.mood()
        if self.args.hangs or "hangs" in mood:
            self.hang()
        if "hungry" in mood:
            self.eat(connection)
        if "500" in mood or "dead" in mood:
            respond_error(connection, 500, DEAD if "dead" in mood else "boom", "InternalServerError")
            return
        self.ending.wait(self.args.service_s)
        kind = path.rpartition("/")[2] if path != "/v1/chat/completions" else "chat"
        if body.get("stream"):
            self.stream(connection, kind, body)
        else:
            self.ending.wait(self.args.tokens * self.args.token_interval_s)
            respond_json(connection, 200, self.whole(kind))

    def words(self) -> Iterator[str]:
        """The tokens of an answer, as they come."""
        for index in range(self.args.tokens):
            if self.ending.wait(self.args.token_interval_s):
                return
            yield f"token{index} "

    def finish_reason(self) -> str:
        """OpenAI's word for the end. (In Anthropic's an answer that was cut short looks like a whole one.)"""
        return "abort" if self.ending.is_set() or "aborts" in self.mood() else "stop"

    def usage(self) -> dict[str, int]:
        """OpenAI's count of tokens."""
        return {
            "prompt_tokens": 3,
            "completion_tokens": self.args.tokens,
            "total_tokens": 3 + self.args.tokens,
        }

    def whole(self, kind: str) -> dict[str, Any]:
        """An answer in one piece."""
        text = "".join(f"token{index} " for index in range(self.args.tokens))
        common = {"id": f"fake-{os.getpid()}", "model": self.args.name[0]}
        if kind == "messages":
            usage = {"input_tokens": 3, "output_tokens": self.args.tokens}
            content = [{"type": "text", "text": text}]
            return {
                **common, "type": "message", "role": "assistant", "content": content,
                "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
            }  # fmt: skip
        choice: dict[str, Any] = {"index": 0, "finish_reason": self.finish_reason()}
        if kind == "chat":
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        name = "chat.completion" if kind == "chat" else "text_completion"
        return {**common, "object": name, "created": 1, "choices": [choice], "usage": self.usage()}

    def stream(self, connection: socket.socket, kind: str, body: dict[str, Any]) -> None:
        """An answer in chunks."""
        connection.sendall(STREAM_HEAD)
        for number, event in enumerate(self.events(kind, body)):
            if number == self.args.dies_in_stream:
                os.kill(os.getpid(), signal.SIGKILL)
            data = event.encode()
            connection.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        connection.sendall(b"0\r\n\r\n")

    def events(self, kind: str, body: dict[str, Any]) -> Iterator[str]:
        """The events of a stream."""
        if kind == "messages":
            yield from self.message_events()
            return
        name = "chat.completion.chunk" if kind == "chat" else "text_completion"
        common = {"id": f"fake-{os.getpid()}", "object": name, "created": 1, "model": self.args.name[0]}
        for word in self.words():
            piece = {"delta": {"content": word}} if kind == "chat" else {"text": word}
            yield sse({**common, "choices": [{"index": 0, "finish_reason": None, **piece}]})
        piece = {"delta": {}} if kind == "chat" else {"text": ""}
        yield sse({**common, "choices": [{"index": 0, "finish_reason": self.finish_reason(), **piece}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            yield sse({**common, "choices": [], "usage": self.usage()})
        yield "data: [DONE]\n\n"

    def message_events(self) -> Iterator[str]:
        """The events of Anthropic's stream."""
        message = {**self.whole("messages"), "content": [], "stop_reason": None}
        message["usage"] = {"input_tokens": 3, "output_tokens": 0}
        block = {"type": "text", "text": ""}
        yield named({"type": "message_start", "message": message})
        yield named({"type": "content_block_start", "index": 0, "content_block": block})
        for word in self.words():
            delta = {"type": "text_delta", "text": word}
            yield named({"type": "content_block_delta", "index": 0, "delta": delta})
        yield named({"type": "content_block_stop", "index": 0})
        end = {"stop_reason": "end_turn", "stop_sequence": None}
        usage = {"output_tokens": self.args.tokens}
        yield named({"type": "message_delta", "delta": end, "usage": usage})
        yield named({"type": "message_stop"})


def sse(event: dict[str, Any]) -> str:
    """One event of OpenAI's kind."""
    return f"data: {json.dumps(event)}\n\n"


def named(event: dict[str, Any]) -> str:
    """One event of Anthropic's kind."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


def read_request(source: Any) -> dict[str, Any] | None:
    """The next request of a connection; ``None`` at its end."""
    start = source.readline()
    if not start.strip():
        return None
    method, path, _ = start.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    while (line := source.readline().decode("latin-1").rstrip("\r\n")) != "":
        key, _, value = line.partition(":")
        headers[key.strip().lower()] = value.strip()
        pairs.append((key.strip(), value.strip()))
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while (size := int(source.readline().split(b";")[0], 16)) > 0:
            body += source.read(size)
            source.readline()
        source.readline()
    else:
        body = source.read(int(headers.get("content-length", "0")))
    return {"method": method, "path": path, "headers": headers, "raw_headers": pairs, "body": body}


def respond(connection: socket.socket, status: int, body: bytes, kind: str = "application/json") -> None:
    """A whole response."""
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


def respond_json(connection: socket.socket, status: int, value: Any) -> None:
    """A whole response of JSON."""
    respond(connection, status, json.dumps(value).encode())


def respond_error(
    connection: socket.socket, status: int, message: str, kind: str, param: str | None = None
) -> None:
    """vLLM's error object."""
    error = {"message": message, "type": kind, "param": param, "code": status}
    respond_json(connection, status, {"error": error})


METRICS = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="fake"} 0.0
"""


if __name__ == "__main__":
    main()
