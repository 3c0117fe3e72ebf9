"""Docker Compose: creates a container that does not exist yet, and tells the command that it will have.

Only Compose's command line creates containers that a later ``docker compose up`` accepts as its own. It runs
in a filtered environment: hotseat's own variables (its keys above all) must not override the project's
``.env``, or the next ``up`` on the host would recreate the container.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hotseat.core.errors import Reason
from hotseat.core.spec import ComposeSpec
from hotseat.runtimes.base import LaunchError

_KEPT = re.compile(
    r"PATH|HOME|USER|LANG|LC_\w+|TMPDIR|XDG_\w+|DOCKER_\w+|SSH_AUTH_SOCK|COMPOSE_PROJECT_NAME"
    r"|(?i:https?_proxy|no_proxy)"
)
_COMMANDS = (("docker", "compose"), ("docker-compose",))
_LINES = 12
_LABEL = "com.docker.compose"


class ComposeProject:
    """The Compose command line, pointed at one Docker Engine."""

    def __init__(self, engine: Mapping[str, str]) -> None:
        """``engine``: the variables that lead to the Docker Engine."""
        self._engine = engine
        self._program: tuple[str, ...] | None = None

    async def create(self, spec: ComposeSpec, container: str) -> None:
        """Create this container, its networks and volumes, and nothing else.

        Raises ``LaunchError``; where Compose is not installed, its hint is the command to run by hand.
        """
        service = spec.service or await self._service_of(spec, container)
        # "create" would also create (and "up" might recreate) the services that it depends on.
        await self._run(spec, "up", "--no-start", "--no-deps", "--no-recreate", service)

    async def recreate(self, spec: ComposeSpec, found: Mapping[str, Any]) -> None:
        """Replace a container that is ``outdated`` by one as the project has it now, and nothing else.

        Raises ``LaunchError``; then the container is still there.
        """
        spec, service = _origin(spec, found)
        await self._run(spec, "up", "--no-start", "--no-deps", service)

    async def outdated(self, spec: ComposeSpec, found: Mapping[str, Any]) -> str | None:
        """Return what is to be said of a container that differs from its project as it is now; else ``None``.

        Compose labels each container with a hash of its settings and compares that, too. ``None`` also for a
        container that Compose did not create, or not in this folder. Raises ``LaunchError``.
        """
        labels = _labels(found)
        made_of = labels.get(f"{_LABEL}.config-hash")
        if not made_of or labels.get(f"{_LABEL}.project.working_dir") != _folder(spec):
            return None
        origin, service = _origin(spec, found)
        text = await self._run(origin, "config", "--hash", service, profiles=spec.profiles or ("*",))
        if text.split()[-1:] in ([], [made_of]):
            return None
        files = " and ".join(Path(file).name for file in origin.file.split(os.pathsep))
        return f"its container was made from other settings than {files} and .env have now"

    async def service(self, spec: ComposeSpec, container: str) -> Mapping[str, Any]:
        """Return the service of this container, as Compose resolves it. Raises ``LaunchError``."""
        services = await self._services(spec)
        name = spec.service or _named(services, container, spec)
        if name not in services:
            raise LaunchError(
                Reason(summary=f"no service {name} in {spec.file}", hint=_has(services), permanent=True)
            )
        found: Mapping[str, Any] = services[name]
        return found

    async def _service_of(self, spec: ComposeSpec, container: str) -> str:
        return _named(await self._services(spec), container, spec)

    async def _services(self, spec: ComposeSpec) -> Mapping[str, Any]:
        text = await self._run(spec, "config", "--format", "json", profiles=spec.profiles or ("*",))
        services: Mapping[str, Any] = json.loads(text).get("services") or {}
        return services

    async def _run(self, spec: ComposeSpec, *words: str, profiles: tuple[str, ...] | None = None) -> str:
        """Return the standard output of ``docker compose …``. When cancelled, the command is killed."""
        options = _options(spec, spec.profiles if profiles is None else profiles)
        program = self._program or await self._find(spec, words)
        self._program = program
        code, out, err = await self._execute([*program, *options, *words], _folder(spec))
        if code:
            lines = tuple(err.splitlines()[-_LINES:])
            cause = lines[-1] if lines else f"exit code {code}"
            raise LaunchError(
                Reason(
                    summary=f"docker compose failed: {cause}",
                    hint=f"by hand: {by_hand(spec, words)}",
                    exit_code=code,
                    lines=lines,
                )
            )
        return out

    async def _find(self, spec: ComposeSpec, words: tuple[str, ...]) -> tuple[str, ...]:
        for program in _COMMANDS:
            code, out, _ = await self._execute([*program, "version", "--short"], None)
            if code == 0 and not out.removeprefix("v").startswith("1."):
                return program
        raise LaunchError(
            Reason(
                summary="the container does not exist, and Docker Compose (v2) is not installed to create it",
                hint=f"run: {by_hand(spec, words)}",
                permanent=True,
            )
        )

    async def _execute(self, command: list[str], folder: str | None) -> tuple[int, str, str]:
        env = compose_environment(os.environ)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                env={**env, **self._engine},
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            return 127, "", str(error)
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def compose_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that Compose is run with: all others must come from the project's ``.env``."""
    return {name: value for name, value in env.items() if _KEPT.fullmatch(name)}


def sources(spec: ComposeSpec) -> tuple[str, ...]:
    """Return the files that a container's settings come from."""
    files = spec.file.split(os.pathsep)
    return (*files, str(Path(files[0]).parent / ".env"))


def _labels(found: Mapping[str, Any]) -> Mapping[str, str]:
    return found["Config"].get("Labels") or {}


def _origin(spec: ComposeSpec, found: Mapping[str, Any]) -> tuple[ComposeSpec, str]:
    """Return the project and the service that a container was created from.

    Where more files were given by hand (an override), they still count.
    """
    labels = _labels(found)
    given = [file for file in labels.get(f"{_LABEL}.project.config_files", "").split(",") if file]
    more = set(spec.file.split(os.pathsep)) < set(given) and all(map(os.path.isfile, given))
    origin = replace(
        spec,
        file=os.pathsep.join(given) if more else spec.file,
        project=spec.project or labels.get(f"{_LABEL}.project"),
    )
    return origin, spec.service or labels.get(f"{_LABEL}.service", "")


def by_hand(spec: ComposeSpec, words: tuple[str, ...]) -> str:
    """Return the command line to run by hand."""
    return shlex.join(["docker", "compose", *_options(spec, spec.profiles), *words])


def _options(spec: ComposeSpec, profiles: tuple[str, ...]) -> list[str]:
    # Several files are separated as in COMPOSE_FILE.
    options = [word for file in spec.file.split(os.pathsep) for word in ("--file", file)]
    if spec.project:
        options += ["--project-name", spec.project]
    return options + [word for profile in profiles for word in ("--profile", profile)]


def _folder(spec: ComposeSpec) -> str | None:
    folder = Path(spec.file.split(os.pathsep)[0]).parent
    return str(folder) if folder.is_absolute() else None


def _named(services: Mapping[str, Any], container: str, spec: ComposeSpec) -> str:
    for name, service in services.items():
        if service.get("container_name") == container:
            return str(name)
    raise LaunchError(
        Reason(
            summary=f"no service of {spec.file} has container_name: {container}",
            hint=f"give it one, or name the service under compose; {_has(services)}",
            permanent=True,
        )
    )


def _has(services: Mapping[str, Any]) -> str:
    return f"it has {', '.join(sorted(services)) or 'no services'}"
