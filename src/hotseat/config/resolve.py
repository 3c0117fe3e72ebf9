"""From what was written to what is meant: defaults filled in, one value checked against another."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from hotseat.config import routing
from hotseat.config.access import KEY, AccessResolver
from hotseat.config.capacity import check_room
from hotseat.config.command_info import CommandInfo, told
from hotseat.config.document import Document, Path
from hotseat.config.fingerprint import fingerprint
from hotseat.config.parsers import values
from hotseat.config.paths import beside, state_dir
from hotseat.config.policies import PolicyResolver
from hotseat.config.schema.access import TlsConfig
from hotseat.config.schema.file import ModelConfig, RootConfig, SleepConfig
from hotseat.core.access_spec import AuthSpec
from hotseat.core.spec import (
    KeepWarmSpec,
    LaunchSpec,
    ModelSpec,
    SchedulerSpec,
    SchedulingSpec,
    ServeSpec,
    Settings,
    SleepSpec,
    TlsSpec,
)
from hotseat.runtimes import registry
from hotseat.runtimes.kind import WrittenLaunch
from hotseat.schedule import zone_of

UPSTREAM_KEY_VARIABLE = "UPSTREAM_API_KEY"
"""The key of the servers, where it is not the clients' key."""


class Resolver:
    """Makes ``Settings`` of a shape; problems go into the document."""

    def __init__(self, document: Document, root: RootConfig, env: Mapping[str, str]) -> None:
        self._document = document
        self._root = root
        self._env = env
        self._budget = self._budgets()

    def settings(self) -> Settings:
        """Everything together. Only to be used when the document has no problems afterwards."""
        root, document = self._root, self._document
        if not root.models and not self._document.tainted(("models",)):
            document.problem(
                (),
                "there is no model",
                'the least is: models: {chat: {command: [my-server, --port, "{port}"]}}',
            )
        models = {name: self._model(name, model) for name, model in root.models.items()}
        check_room(document, self._budget, models)
        policies = PolicyResolver(document, root, self._env, self._file)
        routes = [
            dataclasses.replace(route, policy=policies.of(route.name, route.model))
            for route in routing.routes(document, root)
        ]
        access = AccessResolver(document, root, self._env, self._file)
        auth = access.spec(routes)
        default = routing.default_route(document, root, routes)
        if root.return_to_default and default is None and not self._document.tainted(("default_model",)):
            document.problem(
                ("return_to_default",), "there is no default model to return to", "set default_model"
            )
        self._check_timezone()
        sleep = root.sleep or SleepConfig()
        return Settings(
            serve=self._serve(default.name if default else None, auth),
            scheduler=SchedulerSpec(
                budget=self._budget,
                models={name: model.scheduling for name, model in models.items()},
                host_sleep_mib=None if sleep.host_memory is None else sleep.host_memory >> 20,
                return_to=default.model if default and root.return_to_default else None,
            ),
            models=models,
            routes=tuple(routes),
            auth=auth,
            secrets=frozenset({*access.secrets, root.rate_store or ""} - {""}),
            source=document.file,
        )

    # the whole

    def _check_timezone(self) -> None:
        try:
            zone_of(self._root.timezone or "")
        except ValueError as error:
            self._document.problem(("timezone",), str(error))

    def _serve(self, default_route: str | None, auth: AuthSpec) -> ServeSpec:
        root = self._root
        host, port = root.listen
        open_to_all = auth.required and not auth.configured
        if open_to_all and not values.is_loopback(host) and not self._document.tainted(("keys",)):
            self._document.problem(
                ("listen",),
                "without a key hotseat answers on this machine only (127.0.0.1, ::1 or localhost)",
                f"set {KEY} in the environment, or listen on 127.0.0.1",
            )
        where = root.state_dir
        return ServeSpec(
            host=host,
            port=port,
            open=open_to_all,
            state_dir=self._file(where) if where else state_dir(self._env, root=os.geteuid() == 0),
            default_route=default_route,
            strict_models=root.strict_models,
            access_log=root.access_log,
            hold_headers_s=root.hold_headers_s,
            body_limit_bytes=root.body_limit,
            leave_running=root.on_exit == "leave",
            drain_timeout_s=root.drain_timeout,
            watch_config=root.watch_config,
            rate_store=root.rate_store,
            tracing=root.tracing,
            tls=self._tls(root.tls) if root.tls else None,
        )

    def _tls(self, tls: TlsConfig) -> TlsSpec:
        for key, name in (("cert", tls.cert), ("key", tls.key)):
            if self._document.tainted(("tls", key)):
                continue
            if not name:
                self._document.problem(("tls",), "needs cert and key", f"write {key}: FILE.pem")
            elif not os.path.isfile(self._file(name)):
                self._document.problem(("tls", key), "there is no such file")
        return TlsSpec(cert=self._file(tls.cert or ""), key=self._file(tls.key or ""))

    def _budgets(self) -> dict[str, int]:
        gpu = self._root.gpu
        if isinstance(gpu.devices, dict):
            return dict(gpu.devices)
        return dict.fromkeys(gpu.devices or ("0",), gpu.budget)

    # one model

    def _model(self, name: str, model: ModelConfig) -> ModelSpec:
        at: Path = ("models", name)
        root = self._root
        runtime, launch = self._launch(at, model)
        command = launch.program.command if launch.program else ()
        for key, paths in (("health", (model.health,)), ("allow_paths", model.allow_paths)):
            if not all(path.startswith("/") for path in paths):
                self._document.problem((*at, key), "a path begins with /")
        known = told(command, model.engine)
        if model.sleep and model.sleep.level != 0 and known.engine != "vllm":
            self._document.problem(
                (*at, "sleep"), "only vLLM can sleep", "take it out, or set engine: vllm if this is one"
            )
        return ModelSpec(
            name=name,
            scheduling=self._seat(at, name, model, known, fingerprint(runtime, launch)),
            launch=launch,
            runtime=runtime,
            health_path=model.health,
            health_every_s=(root.health_every if model.health_every is None else model.health_every) or None,
            first_byte_timeout_s=self._first_byte_timeout(model),
            served_names=known.served_names if model.served_name is None else model.served_name,
            lora_names=model.lora or known.lora_names,
            asks_container=frozenset() if launch.program else self._left_to_container(model),
            upstream_key=self._upstream_key(model),
            stop_grace_s=self._root.stop_grace if model.stop_grace is None else model.stop_grace,
            engine=known.engine,
            allow_paths=model.allow_paths,
            keep_warm=KeepWarmSpec(spans=model.keep_warm, zone=root.timezone or "")
            if model.keep_warm
            else None,
        )

    def _launch(self, at: Path, model: ModelConfig) -> tuple[str, LaunchSpec]:
        """The name of the model's runtime, and how that launches it."""
        kind = registry.kind_of(model.runtime, model)
        launch: LaunchSpec = kind.resolve(
            WrittenLaunch(
                path=at,
                model=model,
                top=self._root,
                problems=self._document,
                file=self._file,
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
                    f"is for models with runtime {' or '.join(others)}; this one runs as {kind.name}",
                    "take it out",
                )
        return kind.name, launch

    def _left_to_container(self, model: ModelConfig) -> frozenset[str]:
        own = {
            "footprint": model.footprint,
            "served_names": model.served_name,
            "lora_names": model.lora or None,
            "max_in_flight": model.max_in_flight,
            "stop_grace": self._root.stop_grace if "stop_grace" in self._root.model_fields_set else None,
        }
        if model.stop_grace is not None:
            own["stop_grace"] = model.stop_grace
        return frozenset(name for name, value in own.items() if value is None)

    def _first_byte_timeout(self, model: ModelConfig) -> float | None:
        own = model.first_byte_timeout
        return (self._root.first_byte_timeout if own is None else own) or None

    def _seat(
        self, at: Path, name: str, model: ModelConfig, known: CommandInfo, print_: str
    ) -> SchedulingSpec:
        root = self._root
        idle = root.idle if model.idle is None else model.idle
        residency = root.residency if model.residency is None else model.residency
        max_wait = root.max_wait if model.max_wait is None else model.max_wait
        return SchedulingSpec(
            name=name,
            footprint=self._footprint(at, model, known),
            idle_s=idle or None,
            start_timeout_s=root.start_timeout if model.start_timeout is None else model.start_timeout,
            download_timeout_s=self._download_timeout(at, model, known),
            drain_timeout_s=root.drain_timeout if model.drain_timeout is None else model.drain_timeout,
            residency_s=None if residency == "auto" else residency,
            max_wait_s=None if max_wait == "auto" else max_wait,
            pinned=model.pinned,
            warm=model.preload,
            priority=model.priority,
            max_in_flight=known.max_in_flight if model.max_in_flight is None else model.max_in_flight,
            max_queue=root.max_queue if model.max_queue is None else model.max_queue,
            wait_limit_s=root.wait_limit if model.wait_limit is None else model.wait_limit,
            sleep=self._sleep(at, model),
            fingerprint=print_,
        )

    def _download_timeout(self, at: Path, model: ModelConfig, known: CommandInfo) -> float | None:
        root = self._root
        if model.seed and known.engine != "vllm":
            self._document.problem(
                (*at, "seed"),
                "only a vLLM command names a model that can be downloaded",
                "take it out, or set engine: vllm if this is one",
            )
        if not (root.seed if model.seed is None else model.seed) or known.engine != "vllm":
            return None
        return root.seed_timeout if model.seed_timeout is None else model.seed_timeout

    def _footprint(self, at: Path, model: ModelConfig, known: CommandInfo) -> dict[str, int]:
        devices = model.devices or tuple(self._budget)
        self._check_devices((*at, "devices"), devices)
        if isinstance(model.footprint, dict):
            self._check_devices((*at, "footprint"), tuple(model.footprint))
            if model.devices and set(model.devices) != set(model.footprint):
                self._document.problem((*at, "devices"), "does not agree with the devices of footprint")
            return model.footprint
        share = model.footprint if model.footprint is not None else known.share
        if share is not None:
            return dict.fromkeys(devices, share)
        return {device: self._budget.get(device, 0) for device in devices}

    def _check_devices(self, path: Path, devices: tuple[str, ...]) -> None:
        unknown = sorted(set(devices) - set(self._budget))
        if unknown and not self._document.tainted(("gpu",)):
            listed = self._document.shown(path, ", ".join(unknown))
            self._document.problem(
                path,
                f"device {listed} has no budget (devices here: {', '.join(self._budget)})",
                "add it to gpu.devices",
            )

    def _sleep(self, at: Path, model: ModelConfig) -> SleepSpec | None:
        default = self._root.sleep or SleepConfig()
        own = model.sleep or SleepConfig()
        # a mapping on the model means sleep, whatever it says
        level = own.level if own.level is not None else default.level or (1 if model.sleep else 0)
        path = (*at, "sleep") if own.level is not None else ("sleep",)
        if level not in (0, 1, 2):
            self._document.problem(
                path, "the level is 1 (weights stay in host memory) or 2 (they are dropped)"
            )
        if not level:
            return None
        idle = own.idle if own.idle is not None else default.idle
        leftover = own.leftover if own.leftover is not None else default.leftover
        devices = model.devices or tuple(self._budget)
        if not isinstance(leftover, dict):
            leftover = dict.fromkeys(devices, leftover) if leftover else {}
        else:
            self._check_devices(path, tuple(leftover))
        host = own.host_memory or 0
        return SleepSpec(level=level, leftover=leftover, host_mib=-(-host >> 20), idle_s=idle or None)

    def _upstream_key(self, model: ModelConfig) -> str | None:
        if model.upstream_key is not None:
            return model.upstream_key or None
        return self._env.get(UPSTREAM_KEY_VARIABLE) or self._env.get(KEY) or None

    def _file(self, text: str) -> str:
        """A path as it is meant."""
        return beside(self._document.file, text, self._env)
