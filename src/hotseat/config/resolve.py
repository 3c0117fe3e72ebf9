"""Turns the checked file into ``Settings``: fills in defaults and checks values against each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from urllib.parse import urlsplit

from hotseat.config import routing
from hotseat.config.access import KEY, AccessResolver
from hotseat.config.capacity import check_capacity
from hotseat.config.command_info import read_command
from hotseat.config.document import MINIMAL_FILE, Document, Path
from hotseat.config.fingerprint import fingerprint
from hotseat.config.paths import relative_to
from hotseat.config.policies import PolicyResolver
from hotseat.config.scheduling import SchedulingResolver, budgets_of
from hotseat.config.schema.compose import ComposeConfig
from hotseat.config.schema.inherited import InheritedSettings
from hotseat.config.schema.model import ModelConfig
from hotseat.config.schema.root import RootConfig
from hotseat.config.server import ServerResolver
from hotseat.core.spec import (
    ComposeSpec,
    DockerSpec,
    KeepWarmSpec,
    LaunchSpec,
    ModelSpec,
    ProcessSpec,
    SchedulerSpec,
    Settings,
)
from hotseat.schedule import zone_of

UPSTREAM_KEY_VARIABLE = "UPSTREAM_API_KEY"
"""The key that the models' servers want, where it differs from the clients' key."""

_PROCESS_ONLY = ("command", "env", "cwd")
_DOCKER_ONLY = ("container", "compose", "url", "port")


class Resolver:
    """Makes ``Settings`` of the checked file; problems go into the document."""

    def __init__(self, document: Document, root: RootConfig, env: Mapping[str, str]) -> None:
        self._document = document
        self._root = root
        self._env = env
        self._budgets = budgets_of(root.gpu)
        self._scheduling = SchedulingResolver(document, root, self._budgets)

    def settings(self) -> Settings:
        """The settings; to be used only if the document has no problems afterwards."""
        root, document, env = self._root, self._document, self._env
        if not root.models and not document.tainted(("models",)):
            document.problem((), "no model is configured", f"the smallest file is {MINIMAL_FILE}")
        models = {name: self._model(name, model) for name, model in root.models.items()}
        check_capacity(document, self._budgets, models)
        policies = PolicyResolver(document, root, env, self._file)
        routes = [
            dataclasses.replace(route, policy=policies.of(route.name, route.model))
            for route in routing.routes(document, root)
        ]
        access = AccessResolver(document, root, env, self._file)
        auth = access.spec(routes)
        default = routing.default_route(document, root, routes)
        if root.return_to_default and default is None and not document.tainted(("default_model",)):
            document.problem(("return_to_default",), "needs a default model", "set default_model")
        self._check_timezone()
        host_memory = root.sleep.host_memory if root.sleep else None
        return Settings(
            serve=ServerResolver(document, root, env, self._file).spec(
                default.name if default else None, auth
            ),
            scheduler=SchedulerSpec(
                budget=self._budgets,
                models={name: model.scheduling for name, model in models.items()},
                host_sleep_mib=None if host_memory is None else host_memory >> 20,
                return_to=default.model if default and root.return_to_default else None,
            ),
            models=models,
            routes=tuple(routes),
            auth=auth,
            secrets=frozenset({*access.secrets, root.rate_store or ""} - {""}),
            source=document.file,
        )

    def _check_timezone(self) -> None:
        try:
            zone_of(self._root.timezone or "")
        except ValueError as error:
            self._document.problem(("timezone",), str(error))

    def _model(self, name: str, model: ModelConfig) -> ModelSpec:
        at: Path = ("models", name)
        root = self._root
        runtime = model.runtime or ("docker" if model.container is not None else "process")
        launch = self._docker(at, model) if runtime == "docker" else self._process(at, model)
        command = model.command or ()
        for key in _PROCESS_ONLY if runtime == "docker" else _DOCKER_ONLY:
            if key in model.model_fields_set:
                other = "process" if runtime == "docker" else "docker"
                self._document.problem(
                    (*at, key),
                    f"is for models with runtime {other}; this model has runtime {runtime}",
                    "remove this line",
                )
        for key, paths in (("health", (model.health,)), ("allow_paths", model.allow_paths)):
            if not all(path.startswith("/") for path in paths):
                self._document.problem((*at, key), "a path must begin with /")
        info = read_command(command, model.engine)
        inherited = root.overridden_by(model)
        return ModelSpec(
            name=name,
            scheduling=self._scheduling.spec(name, model, inherited, info, fingerprint(runtime, launch)),
            launch=launch,
            runtime=runtime,
            health_path=model.health,
            health_every_s=inherited.health_every or None,
            first_byte_timeout_s=inherited.first_byte_timeout or None,
            served_names=info.served_names if model.served_name is None else model.served_name,
            lora_names=model.lora or info.lora_names,
            asks_container=self._left_to_container(model, inherited) if runtime == "docker" else frozenset(),
            upstream_key=self._upstream_key(model),
            stop_grace_s=inherited.stop_grace,
            engine=info.engine,
            allow_paths=model.allow_paths,
            keep_warm=KeepWarmSpec(spans=model.keep_warm, zone=root.timezone or "")
            if model.keep_warm
            else None,
        )

    def _left_to_container(self, model: ModelConfig, inherited: InheritedSettings) -> frozenset[str]:
        """Names of the settings that the file leaves open and that are read from the container itself."""
        written = {
            "footprint": model.footprint is not None,
            "served_names": model.served_name is not None,
            "lora_names": bool(model.lora),
            "max_in_flight": model.max_in_flight is not None,
            "stop_grace": "stop_grace" in inherited.model_fields_set,
        }
        return frozenset(name for name, is_written in written.items() if not is_written)

    def _process(self, at: Path, model: ModelConfig) -> LaunchSpec:
        command = model.command
        if command is None:
            if not self._document.tainted((*at, "command")) and at not in self._document.bad:
                fix = "add command: [program, arguments…] or container: NAME"
                if model.runtime == "process":
                    fix = "add command: [program, arguments…]"
                self._document.problem(at, "names neither a command nor a container", fix)
            command = ("",)
        elif not any("{port}" in word for word in (*command, *model.env.values())):
            self._document.problem(
                (*at, "command"),
                "does not contain {port}: hotseat chooses the port that the program must listen on",
                "pass it to the program, for example with --port {port}",
            )
        return ProcessSpec(command=command, env=model.env, cwd=self._file(model.cwd) if model.cwd else None)

    def _docker(self, at: Path, model: ModelConfig) -> LaunchSpec:
        if not model.container and not self._document.tainted((*at, "container")):
            self._document.problem(at, "has runtime docker but names no container", "add container: NAME")
        if model.url is not None:
            self._check_url((*at, "url"), model.url)
        compose = model.compose or self._root.compose
        return DockerSpec(
            container=model.container or "",
            compose=self._compose(at, model, compose) if compose else None,
            url=model.url,
            port=model.port,
        )

    def _compose(self, at: Path, model: ModelConfig, compose: ComposeConfig) -> ComposeSpec | None:
        path = (*at, "compose") if model.compose else ("compose",)
        base = self._root.compose or ComposeConfig()
        file = compose.file or base.file
        if not file:
            if not self._document.tainted(path):
                self._document.problem(path, "does not name a Compose file", "add file: docker-compose.yml")
            return None
        return ComposeSpec(
            file=self._file(file),
            project=compose.project or base.project,
            profiles=compose.profiles or base.profiles,
            service=compose.service,
        )

    def _check_url(self, path: Path, url: str) -> None:
        try:
            parts = urlsplit(url)
            valid = parts.scheme == "http" and bool(parts.hostname) and (parts.port or 80) > 0
        except ValueError:
            valid = False
        else:
            valid = valid and not (parts.query or parts.fragment or parts.username or parts.password)
        if not valid:
            self._document.problem(path, "expected a URL such as http://10.0.0.5:8000")

    def _upstream_key(self, model: ModelConfig) -> str | None:
        if model.upstream_key is not None:
            return model.upstream_key or None
        return self._env.get(UPSTREAM_KEY_VARIABLE) or self._env.get(KEY) or None

    def _file(self, path: str) -> str:
        """Resolve a path that the configuration names."""
        return relative_to(self._document.file, path, self._env)
