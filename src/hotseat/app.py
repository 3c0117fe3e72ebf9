"""The composition root: makes the parts, hands each the others it needs, and sees the program to its end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import time
from pathlib import Path

import structlog
import uvloop

from hotseat.admin.app import Admin
from hotseat.core import effects as do
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec, Settings
from hotseat.core.states import State
from hotseat.engines.pick import engine_named
from hotseat.gateway.entry import Gateway
from hotseat.gateway.seats import Refused
from hotseat.gateway.server import Server, serve
from hotseat.gpu import open_gpus, room_for
from hotseat.history import History
from hotseat.readiness import until_ready
from hotseat.runtimes.base import Handle, Runtime
from hotseat.runtimes.process import ProcessRuntime
from hotseat.sleeping import Sleeper
from hotseat.supervisor.supervisor import Supervisor

log = structlog.get_logger("hotseat")

LAST_BYTES_S = 5.0
"""What connections get to take their last bytes once every model has gone."""


class CannotServe(Exception):
    """hotseat cannot start, in words for a person."""


class App:
    """hotseat, whole: open it, serve with it, close it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        state_dir = Path(settings.serve.state_dir)
        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise CannotServe(f"state_dir {state_dir} cannot be made: {error.strerror}") from error
        self._gpus = open_gpus()
        self._history = History(state_dir / "history.sqlite3", _history_trouble)
        self.supervisor = Supervisor(
            settings,
            _runtimes(settings, state_dir),
            refused=Refused,
            engine_of=lambda model: engine_named(model.engine),
            probe=_probe,
            room=self._room,
            sleeper=Sleeper(self._gpus),
            starts=self._history,
            luck=random.random,
            wall=time.time,
            on_move=self._moved,
        )
        self.admin = Admin(settings, self.supervisor, wall=time.time)
        self.gateway = Gateway(settings, self.supervisor, self.admin.app, local_only=settings.serve.open)
        self._server: Server | None = None

    async def open(self, sockets: list[socket.socket] | None = None) -> None:
        """Take back what runs, then listen. Raises ``CannotServe``."""
        await self.supervisor.open()
        where = self.settings.serve
        try:
            self._server = await serve(self.gateway, host=where.host, port=where.port, sockets=sockets or ())
        except OSError as error:
            await self.supervisor.close(leave_running=True)
            raise CannotServe(f"cannot listen on {where.host}:{where.port}: {error.strerror}") from error
        for host, port in self._server.addresses:
            log.info("listening", url=f"http://{host}:{port}", models=list(self.settings.models))

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens: host and port."""
        return self._server.addresses if self._server else []

    async def close(self) -> None:
        """Refuse what is new, let streams end within their drain time, stop the models, let go of the port.

        With ``on_exit: leave`` the models keep running, for the next start to adopt.
        """
        serve = self.settings.serve
        assert self._server is not None
        if serve.leave_running:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.supervisor.close(leave_running=True))
                await self._server.stop(serve.drain_timeout_s)
        else:
            await self.supervisor.close()
            await self._server.stop(LAST_BYTES_S)
        self.gateway.close()
        self._history.close()

    async def _room(self, model: ModelSpec) -> Reason | None:
        return await room_for(self._gpus, model.seat.footprint) if self._gpus else None

    def _moved(self, move: do.ReportMove) -> None:
        if move.run is not None and move.new in (State.STOPPED, State.BACKOFF):
            self.gateway.run_ended(move.model, move.run)


def _history_trouble(why: str) -> None:
    log.warning("history", trouble=why)


def _runtimes(settings: Settings, state_dir: Path) -> dict[str, Runtime]:
    """The runtimes that the configured models need."""
    names = {model.runtime for model in settings.models.values()}
    made: dict[str, Runtime] = {}
    if "process" in names:
        made["process"] = ProcessRuntime(state_dir)
    if "docker" in names:
        from hotseat.runtimes.docker import DockerRuntime  # aiohttp comes with it, so only when it is used

        made["docker"] = DockerRuntime()
    return made


async def _probe(model: ModelSpec, handle: Handle, poke: asyncio.Event) -> None:
    headers = {"Authorization": f"Bearer {model.upstream_key}"} if model.upstream_key else None
    await until_ready(handle.host, handle.port, handle.base_path + model.health_path, poke, headers=headers)


async def _serve_until_told(settings: Settings) -> None:
    app = App(settings)
    await app.open()
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _told_to_end, told, number)
    await told.wait()
    log.info("shutting down", models="left running" if settings.serve.leave_running else "stopped")
    await app.close()
    log.info("ended")


def _told_to_end(told: asyncio.Event, number: signal.Signals) -> None:
    if told.is_set():  # told twice: end now; what still runs is adopted or swept by the next start
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    told.set()


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``CannotServe``."""
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve_until_told(settings))
