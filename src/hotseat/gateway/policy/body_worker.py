"""Large and intricate request bodies are read and rewritten in a process of their own.

A parser holds Python's lock: in a thread it would keep everybody waiting just as in the event loop. The
process is started for the first such body, serves one at a time, at low priority, and ends when it has been
idle, when its parent ends, or when it takes too long. It gets no secrets, and its memory is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import re
import resource
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any, BinaryIO, cast

from hotseat.core.access_spec import PolicySpec
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.http.headers import RequestHead
from hotseat.gateway.policy import body
from hotseat.gateway.policy.request_body import RequestBody
from hotseat.gateway.policy.rewrite import RewriteRules

LIGHT_BYTES = 64 * 1024
"""A body up to this size is parsed in the event loop, whatever it holds: that takes a few milliseconds."""
_LIGHT_JSON_BYTES = 1024 * 1024
_LIGHT_VALUES = 20_000
MAX_VALUES = 200_000
"""JSON values of a body in which a system prompt has to be imposed."""
MAX_FIELDS = 50_000
"""Fields of JSON objects of a body that has to be changed."""
TIMEOUT_S = 20.0
"""How long one body may take; then the process is ended."""
IDLE_S = 60.0
"""How long the process is kept without work."""
_MEMORY_BYTES = 512 * 1024 * 1024
_PIECE_BYTES = 256 * 1024
_FRAME = struct.Struct("<II")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


def is_light(content: bytes, head: RequestHead) -> bool:
    """Return whether a body can be parsed in the event loop, without keeping anybody waiting."""
    if len(content) <= LIGHT_BYTES:
        return True
    if len(content) > _LIGHT_JSON_BYTES or not content[:64].lstrip().startswith(b"{"):
        return False
    return sum(content.count(mark) for mark in (b",", b":", b"[", b"{")) <= _LIGHT_VALUES


class InspectedBody:
    """A body that the process has read, and holds until the next one."""

    def __init__(self, worker: BodyWorker, model: str | None, stream: bool, is_exact_stream: bool) -> None:
        """The fields are those of ``RequestBody``."""
        self._worker = worker
        self.model = model
        self.stream = stream
        self.is_exact_stream = is_exact_stream

    async def rewrite(self, policy: PolicySpec | None, path: bytes, name: str | None) -> bytes | None:
        """Apply a policy, and replace the model's name unless that is ``None``; return the new body.

        ``None``: it did not change. Raises ``RequestRefused``.
        """
        fields, content = await self._worker.call(("rewrite", policy, path, name), b"")
        self.model, changed = fields
        return content if changed else None


class BodyWorker:
    """The process that reads large bodies, from the side of the gateway."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self.process: asyncio.subprocess.Process | None = None
        """The running process, if there is one."""
        self._idle: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def inspect(self, content: bytes, head: RequestHead) -> AsyncIterator[InspectedBody]:
        """Read a body, and keep it in the process for ``rewrite``. Raises ``RequestRefused``.

        One body at a time: others wait here.
        """
        async with self._lock:
            if self._idle is not None:
                self._idle.cancel()
                self._idle = None
            wanted = [(name, head.picked[name]) for name in _READ_FIELDS if name in head.picked]
            fields, _ = await self.call(("read", wanted), content)
            yield InspectedBody(self, *fields)
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close)

    async def call(self, order: tuple[Any, ...], content: bytes) -> tuple[Any, bytes]:
        """Have the process carry out an order on a body. Raises ``RequestRefused``."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                kind, result, answer = await self._exchange(order, content)
        except (TimeoutError, OSError, EOFError, RuntimeError):  # uvloop's error for a pipe that has closed
            self.close()
            raise RequestRefused(_NOT_READ) from None
        except asyncio.CancelledError:
            self.close()  # it is in the middle of something
            raise
        if kind == "refused":
            raise RequestRefused(result)
        return result, answer

    async def _exchange(self, order: tuple[Any, ...], content: bytes) -> tuple[str, Any, bytes]:
        if self.process is None or self.process.returncode is not None:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "hotseat.gateway.policy.body_worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                start_new_session=True,  # Ctrl-C is for hotseat, which closes its input
            )
        to, answers = self.process.stdin, self.process.stdout
        assert to is not None
        assert answers is not None
        head = pickle.dumps(order)
        to.write(_FRAME.pack(len(head), len(content)) + head)
        for at in range(0, len(content), _PIECE_BYTES):
            to.write(content[at : at + _PIECE_BYTES])
            await to.drain()
        head_size, size = _FRAME.unpack(await answers.readexactly(_FRAME.size))
        kind, result = pickle.loads(await answers.readexactly(head_size))
        return kind, result, await answers.readexactly(size)

    def close(self) -> None:
        """End the process. May be repeated; the next body starts a new one."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        process, self.process = self.process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


_READ_FIELDS = (b"content-type", b"content-encoding")
_NOT_READ = ErrorResponse(
    status=413,
    code="body_too_complex",
    message="the body could not be read within the bounds on time and memory",
    should_retry=False,
)


# Inside the process


class Reader:
    """The process' own side: one body at a time, and what may be asked about it."""

    def __init__(self) -> None:
        self._body = RequestBody(b"")
        self._rules: tuple[PolicySpec, RewriteRules] | None = None

    def carry_out(self, order: tuple[Any, ...], content: bytes) -> tuple[str, Any, bytes]:
        """Carry out one order. Never raises for a bad body: that is a result, too."""
        try:
            if order[0] == "read":
                if b"multipart" in dict(order[1]).get(b"content-type", b"").lower():
                    content = bytes(content)  # its fields are looked up as they are
                parsed = self._body = body.read(content, RequestHead(order[1]))
                return "done", (parsed.model, parsed.stream, parsed.is_exact_stream), b""
            return self._rewrite(*order[1:])
        except RequestRefused as refused:
            return "refused", refused.problem, b""
        except MemoryError:
            self._body = RequestBody(b"")
            return "refused", _NOT_READ, b""

    def _rewrite(self, policy: PolicySpec | None, path: bytes, name: str | None) -> tuple[str, Any, bytes]:
        parsed = self._body
        before = parsed.content
        if type(parsed) is RequestBody:
            check_complexity(before, decoded=policy is not None and policy.prompt is not None)
        if policy is not None:
            if self._rules is None or self._rules[0] != policy:
                self._rules = (policy, RewriteRules(policy))
            parsed.rewrite(self._rules[1], path, name)
        elif name is not None:
            parsed.rename(name)
        changed = parsed.content is not before
        return "done", (parsed.model, changed), parsed.content if changed else b""


def check_complexity(content: bytes, *, decoded: bool) -> None:
    """Raise ``RequestRefused`` (413) for JSON of too many fields, or values where all of them are decoded."""
    if content.count(b":") <= MAX_FIELDS and (
        not decoded or sum(content.count(mark) for mark in (b",", b"[", b"{")) <= MAX_VALUES
    ):
        return
    bare = _STRING.sub(b"", content)
    if bare.count(b":") > MAX_FIELDS:
        raise RequestRefused(_too_complex(f"more than {MAX_FIELDS} fields"))
    if decoded and sum(bare.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise RequestRefused(_too_complex(f"more than {MAX_VALUES} values"))


def _too_complex(what: str) -> ErrorResponse:
    return ErrorResponse(
        status=413,
        code="body_too_complex",
        message=f"the body has {what}, and this route has to change it",
        should_retry=False,
    )


def main(orders: BinaryIO, answers: BinaryIO) -> None:
    """Serve until the input ends."""
    reader = Reader()
    while head := orders.read(_FRAME.size):
        head_size, size = _FRAME.unpack(head)
        order = pickle.loads(orders.read(head_size))
        received = bytearray(size)
        view, at = memoryview(received), 0
        while at < size:
            at += orders.readinto(view[at:]) or size  # type: ignore[attr-defined]
        view.release()
        kind, result, content = reader.carry_out(order, cast("bytes", received))
        del received
        told = pickle.dumps((kind, result))
        answers.write(_FRAME.pack(len(told), len(content)) + told)
        answers.write(content)
        answers.flush()


if __name__ == "__main__":
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    main(sys.stdin.buffer, sys.stdout.buffer)
