"""Turns the checked file into ``Settings``: fills in defaults and checks values against each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from hotseat.config import command_problems, routing
from hotseat.config.access import KEY, AccessResolver
from hotseat.config.capacity import check_capacity
from hotseat.config.command_info import read_command
from hotseat.config.command_problems import assignments
from hotseat.config.devices import DeviceResolver
from hotseat.config.document import MINIMAL_FILE, Document, Path
from hotseat.config.fingerprint import fingerprint
from hotseat.config.paths import relative_to
from hotseat.config.policies import PolicyResolver
from hotseat.config.scheduling import SchedulingResolver, budgets_of
from hotseat.config.schema.inherited import InheritedSettings
from hotseat.config.schema.model import ModelConfig
from hotseat.config.schema.root import RootConfig
from hotseat.config.secrets import INHERITED_KEYS, one_of, withheld_variables
from hotseat.config.server import ServerResolver
from hotseat.core.spec import KeepWarmSpec, LaunchSpec, ModelSpec, SchedulerSpec, Settings
from hotseat.engines import flags
from hotseat.engines.pick import engine_named
from hotseat.runtimes import registry
from hotseat.runtimes.kind import WrittenLaunch
from hotseat.schedule import zone_of

UPSTREAM_KEY_VARIABLE = "UPSTREAM_API_KEY"
"""The key that the models' servers want, where it differs from the clients' key."""


class Resolver:
    """Makes ``Settings`` of the checked file; problems go into the document."""

    def __init__(self, document: Document, root: RootConfig, env: Mapping[str, str]) -> None:
        self._document = document
        self._root = root
        self._env = env
        self._budgets = budgets_of(root.gpu)
        self._secrets: set[str] = set()
        """Keys of servers; they must never be shown."""
        self._devices = DeviceResolver(document, root, self._budgets, env)
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
        secrets = frozenset({*access.secrets, *self._secrets, root.rate_store or ""} - {""})
        withheld = withheld_variables(
            env, secrets | {model.upstream_key or "" for model in models.values()}, document
        )
        models = {name: dataclasses.replace(model, withheld=withheld) for name, model in models.items()}
        return Settings(
            serve=ServerResolver(document, root, env, self._file).spec(
                default.name if default else None, auth
            ),
            scheduler=SchedulerSpec(
                budget=self._budgets,
                models={name: model.scheduling for name, model in models.items()},
                host_sleep_mib=self._scheduling.host_limit_mib(),
                return_to=default.model if default and root.return_to_default else None,
            ),
            models=models,
            routes=tuple(routes),
            auth=auth,
            secrets=secrets,
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
        self._check_command((*at, "command"), getattr(model, "command", None) or ())
        model = self._devices.written(model)
        runtime, launch = self._launch(at, model)
        self._devices.check_compose(at, model, launch)
        command = launch.program.command if launch.program else ()
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
            asks_container=frozenset() if launch.program else self._left_to_container(model, inherited),
            upstream_key=self._upstream_key(model, self._server_keys(info.engine, launch)),
            stop_grace_s=inherited.stop_grace,
            standby_reserve_mib=self._scheduling.standby_reserve_mib(),
            engine=info.engine,
            allow_paths=model.allow_paths,
            context=model.context or info.context,
            capabilities=model.capabilities or info.capabilities,
            keep_warm=KeepWarmSpec(spans=model.keep_warm, zone=root.timezone or "")
            if model.keep_warm
            else None,
        )

    def _check_command(self, path: Path, command: Sequence[str]) -> None:
        """Report a command that is not one program that hotseat can start and end."""
        if command and command[0] and not self._document.tainted(path):
            found = command_problems.problem_of(command)
            if found is not None:
                self._document.problem(path, found.message, found.fix)

    def _launch(self, at: Path, model: ModelConfig) -> tuple[str, LaunchSpec]:
        """The name of the model's runtime, and how it launches the model."""
        kind = registry.kind_of(model.runtime, model)
        launch: LaunchSpec = kind.resolve(
            WrittenLaunch(
                path=at,
                model=model,
                top=self._root,
                problems=self._document,
                file=self._file,
                devices=self._devices.visible(at, model),
                every_device=set(self._devices.wanted(model) or ()) == set(self._budgets),
                examples=(kind.example,)
                if model.runtime
                else tuple(one.example for one in registry.KINDS.values()),
            )
        )
        for key in model.model_fields_set:
            others = registry.owners(key)
            if others and kind.name not in others:
                self._document.problem(
                    (*at, key),
                    f"is for models with runtime {' or '.join(others)}; this model has runtime {kind.name}",
                    "remove this line",
                )
        return kind.name, launch

    def _left_to_container(self, model: ModelConfig, inherited: InheritedSettings) -> frozenset[str]:
        """Names of the settings that the file leaves open and that are read from the container itself."""
        written = {
            "footprint": model.footprint is not None,
            "served_names": model.served_name is not None,
            "lora_names": bool(model.lora),
            "max_in_flight": model.max_in_flight is not None,
            "context": model.context is not None,
            "capabilities": bool(model.capabilities),
            "stop_grace": "stop_grace" in inherited.model_fields_set,
            "upstream_key": model.upstream_key is not None,
        }
        return frozenset(name for name, is_written in written.items() if not is_written)

    def _server_keys(self, engine: str, launch: LaunchSpec) -> tuple[str, ...]:
        """The keys that a program asks for by its own command and variables; they must never be shown."""
        program = launch.program
        if program is None:
            return ()
        inherited = {name: self._env[name] for name in INHERITED_KEYS if name in self._env}
        env = {**inherited, **assignments(program.command), **program.env}
        found = engine_named(engine).api_keys(program.command, env)
        keys = flags.expanded(program.command, found, {**self._env, **env})
        self._secrets.update(keys)
        return keys

    def _upstream_key(self, model: ModelConfig, server_keys: Sequence[str]) -> str | None:
        """The key for a model's server: the written one, else the server's own, else the environment's."""
        if model.upstream_key is not None:
            return model.upstream_key or None
        return one_of(server_keys, self._env.get(UPSTREAM_KEY_VARIABLE) or self._env.get(KEY) or None)

    def _file(self, path: str) -> str:
        """Resolve a path that the configuration names."""
        return relative_to(self._document.file, path, self._env)
