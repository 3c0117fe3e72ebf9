"""Models as their Deployments run them, read from the configuration and its Compose file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from hotseat.core.spec import ModelSpec, Settings
from hotseat.secret_names import is_secret_name
from hotseat.stack.compose.model import ComposeModel, ComposeService

PORT = 8000
SECRET = "hotseat-env"
"""The Secret that is made of ``.env``; no manifest holds a secret."""
_PARALLEL = (
    "--tensor-parallel-size",
    "-tp",
    "--pipeline-parallel-size",
    "-pp",
    "--data-parallel-size",
    "-dp",
)
_HERE = re.compile(r"\{port\}")
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?\Z")


class CannotExport(Exception):
    """A model that no Deployment can be made of; the message says which, and what to do."""


def secret_variable(*path: str) -> str:
    """Return the name of a variable for a secret that is written at this place of the file."""
    return re.sub(r"[^A-Za-z0-9]+", "_", "_".join(path[1:] if path[0] == "models" else path)).upper()


class SecretVariables:
    """Variables by the secrets that they hold, so that manifests can name them instead."""

    def __init__(self, environment: Mapping[str, str], secrets: frozenset[str]) -> None:
        """``secrets``: values that must not be written whatever they are called."""
        self._names = {value: name for name, value in environment.items() if value and is_secret_name(name)}
        self._secrets = secrets
        self.missing: set[str] = set()
        """Variables that were made up here: the Secret needs them, too."""

    def knows(self, value: str) -> bool:
        """Whether this is a secret's value."""
        return bool(value) and (value in self._secrets or value in self._names)

    def variable(self, value: str, otherwise: str) -> str:
        """Return the variable that holds this secret, or the name of one that has to be added."""
        if (name := self._names.get(value)) is not None:
            return name
        self.missing.add(otherwise)
        return otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedModel:
    """A model, as its Deployment runs it."""

    name: str
    image: str
    command: tuple[str, ...]
    """Of the container; empty: the image's own."""
    args: tuple[str, ...]
    env: Mapping[str, str]
    secret_env: Mapping[str, str]
    """Variables whose values come from the Secret, and their keys there."""
    gpus: int
    port: int
    health_path: str
    stop_grace_s: float


def exported_models(
    settings: Settings, projects: Mapping[str, ComposeModel], image: str, secrets: SecretVariables
) -> Iterator[ExportedModel]:
    """Yield the models that need a Deployment: those that are workloads of a cluster already have one.

    ``projects`` are the Compose projects by their files; ``image`` runs what is a plain process. Raises
    ``CannotExport``.
    """
    for model in settings.models.values():
        if model.runtime == "kubernetes":
            continue
        if not _DNS_LABEL.match(model.name):
            raise CannotExport(
                f"models.{model.name}: a Service cannot have this name. Use lower-case letters, digits "
                "and -, a letter first"
            )
        if (program := model.launch.program) is not None:
            yield _of_program(model, program.command, program.env, image, secrets)
        else:
            yield _of_service(model, _service(model, projects), secrets)


def _service(model: ModelSpec, projects: Mapping[str, ComposeModel]) -> ComposeService:
    project = model.launch.compose_project
    if project is None:
        raise CannotExport(
            f"models.{model.name}: only the Docker Engine knows how {model.launch.describe()} is made. "
            "Say which Compose file makes it (compose: docker-compose.yml)"
        )
    found = projects[project.file]
    service = found.services.get(project.service or "") or found.by_container(
        model.launch.container_name or ""
    )
    if service is None:
        raise CannotExport(
            f"models.{model.name}: {project.file} has no service for {model.launch.describe()}"
        )
    if not service.image:
        raise CannotExport(
            f"models.{model.name}: its service {service.name} names no image: push one and name it"
        )
    return service


def _of_program(
    model: ModelSpec, command: tuple[str, ...], env: Mapping[str, str], image: str, secrets: SecretVariables
) -> ExportedModel:
    words = [_HERE.sub(str(PORT), word) for word in command]
    # A path of this machine is none of the image's.
    words[0] = PurePath(words[0]).name
    return _exported(model, image, (words[0],), tuple(words[1:]), env, secrets)


def _of_service(model: ModelSpec, service: ComposeService, secrets: SecretVariables) -> ExportedModel:
    return _exported(model, service.image, (), service.command, service.environment, secrets)


def _exported(
    model: ModelSpec,
    image: str,
    command: tuple[str, ...],
    args: tuple[str, ...],
    env: Mapping[str, str],
    secrets: SecretVariables,
) -> ExportedModel:
    secret_env = {
        name: secrets.variable(value, name)
        for name, value in env.items()
        if is_secret_name(name) or secrets.knows(value)
    }
    words = []
    for at, word in enumerate(args):
        flag, sign, value = word.partition("=")
        before = args[at - 1] if at else ""
        if secrets.knows(word) or (before.startswith("--") and "=" not in before and is_secret_name(before)):
            value, sign, flag = word, "", ""
        elif not sign or not (secrets.knows(value) or (flag.startswith("--") and is_secret_name(flag))):
            words.append(word.replace("$(", "$$("))
            continue
        variable = secrets.variable(value, secret_variable("models", model.name, "upstream_key"))
        secret_env[variable] = variable
        words.append(f"{flag}{sign}$({variable})")
    return ExportedModel(
        name=model.name,
        image=image,
        command=command,
        args=tuple(words),
        env={name: value.replace("$(", "$$(") for name, value in env.items() if name not in secret_env},
        secret_env=secret_env,
        gpus=_gpus(args, len(model.scheduling.footprint)),
        port=_port(args),
        health_path=model.health_path,
        stop_grace_s=model.stop_grace_s,
    )


def _gpus(args: tuple[str, ...], devices: int) -> int:
    """Return how many GPUs the server uses: as its command says, else as many as it has devices here."""
    product, told = 1, False
    for at, word in enumerate(args):
        flag, sign, value = word.partition("=")
        value = value if sign else next(iter(args[at + 1 : at + 2]), "")
        if flag.replace("_", "-") in _PARALLEL and value.isdecimal():
            product, told = product * int(value), True
    return max(1, product if told else devices)


def _port(args: tuple[str, ...]) -> int:
    for at, word in enumerate(args):
        flag, sign, value = word.partition("=")
        value = value if sign else next(iter(args[at + 1 : at + 2]), "")
        if flag == "--port" and value.isdecimal():
            return int(value)
    return PORT
