"""Rules for the manifests of a cluster, compared with hotseat's configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hotseat.core.spec import ModelSpec, Settings
from hotseat.runtimes.kubernetes.spec import KubernetesSpec
from hotseat.stack.kubernetes.manifests import LAUNCHER
from hotseat.stack.lint.findings import Finding, Severity

_GPU = "nvidia.com/gpu"
_DEFAULT_GRACE_S = 30


class ManifestsUnreadable(Exception):
    """A file that is no YAML, or holds no objects."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object, and where it is written."""

    file: str
    line: int
    data: dict[str, Any]

    @property
    def kind(self) -> str:
        """The object's kind."""
        return str(self.data.get("kind", ""))

    @property
    def name(self) -> str:
        """The object's name."""
        return str((self.data.get("metadata") or {}).get("name", ""))

    @property
    def spec(self) -> dict[str, Any]:
        """The object's ``spec``."""
        return _mapping(self.data.get("spec"))

    @property
    def pod(self) -> dict[str, Any]:
        """The ``spec`` of the pods that it makes."""
        return _mapping(_mapping(self.spec.get("template")).get("spec"))

    @property
    def container(self) -> dict[str, Any]:
        """The first container of its pods."""
        containers = self.pod.get("containers") or [{}]
        return _mapping(containers[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class LintedManifests:
    """The input of these rules: the objects, and hotseat's configuration."""

    folder: str
    objects: Sequence[Manifest]
    settings: Settings | None

    def models(self) -> Iterator[tuple[ModelSpec, KubernetesSpec]]:
        """Yield the models that are workloads."""
        for model in self.settings.models.values() if self.settings else ():
            if isinstance(model.launch, KubernetesSpec):
                yield model, model.launch

    def find(self, kind: str, name: str) -> Manifest | None:
        """Return the object of this kind and name."""
        return next((one for one in self.objects if (one.kind, one.name) == (kind, name)), None)

    def workloads(self) -> Iterator[tuple[ModelSpec, Manifest]]:
        """Yield the models whose workload is among the objects."""
        for model, launch in self.models():
            if (found := self.find(launch.workload.kind, launch.workload.name)) is not None:
                yield model, found


FoundManifest = tuple[Manifest | None, str | None, str]
"""The object at fault, the model, and the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRule:
    """A requirement on the manifests."""

    name: str
    severity: Severity
    about: str
    fix: str
    check: Callable[[LintedManifests], Iterator[FoundManifest]]


def read_manifests(folder: Path, settings: Settings | None) -> LintedManifests:
    """Read all objects of a folder with a ``kustomization.yaml``. Raises ``ManifestsUnreadable``."""
    objects: list[Manifest] = []
    for file in sorted(folder.glob("*.y*ml")):
        if file.name in ("kustomization.yaml", "hotseat.yaml"):
            continue
        try:
            nodes = list(yaml.compose_all(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))
            documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        except (yaml.YAMLError, OSError, ValueError) as error:
            raise ManifestsUnreadable(f"{file} cannot be read: {error}") from error
        for node, data in zip(nodes, documents, strict=False):
            if isinstance(data, dict) and node is not None:
                objects.append(Manifest(str(file), node.start_mark.line + 1, data))
    return LintedManifests(folder=str(folder), objects=objects, settings=settings)


def lint_manifests(manifests: LintedManifests) -> list[Finding]:
    """Return all findings, in file order."""
    found = [
        Finding(
            rule=rule.name,
            severity=rule.severity,
            file=manifest.file if manifest is not None else manifests.folder,
            line=manifest.line if manifest is not None else None,
            service=name,
            message=message,
            fix=rule.fix,
        )
        for rule in RULES
        for manifest, name, message in rule.check(manifests)
    ]
    return sorted(found, key=lambda one: (one.file, one.line or 0, one.rule))


def _missing(stack: LintedManifests) -> Iterator[FoundManifest]:
    for model, launch in stack.models():
        if stack.find(launch.workload.kind, launch.workload.name) is None:
            yield None, model.name, f"its workload {launch.describe()} is not among the manifests"


def _rights(stack: LintedManifests) -> Iterator[FoundManifest]:
    roles = [one for one in stack.objects if one.kind in ("Role", "ClusterRole")]
    if not roles:
        return
    rules = [_mapping(rule) for role in roles for rule in role.data.get("rules") or ()]
    for model, launch in stack.models():
        workload = launch.workload
        for resource in (workload.plural, f"{workload.plural}/scale"):
            if not any(_allows(rule, workload.group, resource, workload.name) for rule in rules):
                message = f"no Role lets the launcher get and patch {resource} {workload.name}"
                yield roles[0], model.name, message


def _allows(rule: dict[str, Any], group: str, resource: str, name: str) -> bool:
    def has(key: str, wanted: str) -> bool:
        return bool({wanted, "*"} & {str(one) for one in rule.get(key) or ()})

    named = not rule.get("resourceNames") or has("resourceNames", name)
    return (
        named
        and has("apiGroups", group)
        and has("resources", resource)
        and all(has("verbs", verb) for verb in ("get", "patch"))
    )


def _liveness(stack: LintedManifests) -> Iterator[FoundManifest]:
    for model, workload in stack.workloads():
        if workload.container.get("livenessProbe") or workload.container.get("startupProbe"):
            yield workload, model.name, "the kubelet kills it while it loads for longer than its probe allows"


def _grace(stack: LintedManifests) -> Iterator[FoundManifest]:
    for model, workload in stack.workloads():
        grace_s = workload.pod.get("terminationGracePeriodSeconds", _DEFAULT_GRACE_S)
        if "stop_grace" not in model.asks_container and float(grace_s) < model.stop_grace_s:
            message = (
                f"is killed after {grace_s} s (terminationGracePeriodSeconds), before its stop_grace of "
            )
            yield workload, model.name, f"{message}{model.stop_grace_s:g} s"


def _gpus(stack: LintedManifests) -> Iterator[FoundManifest]:
    for model, workload in stack.workloads():
        limits = _mapping(_mapping(workload.container.get("resources")).get("limits"))
        counted = sum(model.scheduling.footprint.values()) / 1_000_000
        asked = float(str(limits.get(_GPU, 0)) or 0)
        if counted and asked and asked != counted:
            yield workload, model.name, f"asks for {asked:g} GPUs, and its footprint counts {counted:g}"


def _links(stack: LintedManifests) -> Iterator[FoundManifest]:
    for model, workload in stack.workloads():
        if model.engine == "vllm" and workload.pod.get("enableServiceLinks") is not False:
            yield (
                workload,
                model.name,
                "a Service named vllm would set VLLM_PORT, which vLLM takes for its own",
            )


def _surge(stack: LintedManifests) -> Iterator[FoundManifest]:
    for model, workload in stack.workloads():
        if (
            workload.kind == "Deployment"
            and _mapping(workload.spec.get("strategy")).get("type") != "Recreate"
        ):
            yield (
                workload,
                model.name,
                "a rollout needs its GPUs twice, and waits for ever where they are not free",
            )


def _sleep(stack: LintedManifests) -> Iterator[FoundManifest]:
    for model, _ in stack.models():
        if model.scheduling.sleep is not None:
            yield None, model.name, "sleeps, and a sleeping pod keeps its GPUs: nobody else can use them"


def _launchers(stack: LintedManifests) -> Iterator[FoundManifest]:
    launcher = stack.find("Deployment", LAUNCHER)
    if launcher is None or stack.settings is None or stack.settings.serve.lease is not None:
        return
    if int(launcher.spec.get("replicas", 1)) > 1:
        yield launcher, None, "several launchers without a lease scale the same models against each other"


def _drain(stack: LintedManifests) -> Iterator[FoundManifest]:
    launcher = stack.find("Deployment", LAUNCHER)
    if launcher is None or stack.settings is None:
        return
    grace_s = float(launcher.pod.get("terminationGracePeriodSeconds", _DEFAULT_GRACE_S))
    if grace_s <= stack.settings.serve.drain_timeout_s:
        yield (
            launcher,
            None,
            (
                f"the launcher is killed after {grace_s:g} s, before its drain_timeout of "
                f"{stack.settings.serve.drain_timeout_s:g} s"
            ),
        )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


RULES: tuple[ManifestRule, ...] = (
    ManifestRule(
        name="k8s-workload",
        severity="error",
        about="A model of `hotseat.yaml` has no workload in the folder.",
        fix="add it (hotseat export kubernetes), or correct workload",
        check=_missing,
    ),
    ManifestRule(
        name="k8s-rights",
        severity="error",
        about="A Role that does not let the launcher scale a model.",
        fix="add the workload and its /scale to the Role, with get and patch",
        check=_rights,
    ),
    ManifestRule(
        name="k8s-launchers",
        severity="error",
        about="Several launchers without a `lease`.",
        fix="set lease and on_exit: leave in hotseat.yaml, or replicas: 1",
        check=_launchers,
    ),
    ManifestRule(
        name="k8s-grace",
        severity="error",
        about="A pod is killed before the model's `stop_grace` is over.",
        fix="raise terminationGracePeriodSeconds, or lower stop_grace",
        check=_grace,
    ),
    ManifestRule(
        name="k8s-drain",
        severity="error",
        about="A launcher is killed before its streams had their `drain_timeout`.",
        fix="raise the launcher's terminationGracePeriodSeconds above drain_timeout",
        check=_drain,
    ),
    ManifestRule(
        name="k8s-gpus",
        severity="warning",
        about="A pod asks for another number of GPUs than the model's `footprint` counts.",
        fix="make resources.limits and footprint agree",
        check=_gpus,
    ),
    ManifestRule(
        name="k8s-liveness",
        severity="warning",
        about="A liveness or startup probe on a model, which hotseat checks itself.",
        fix="remove livenessProbe and startupProbe from the model's container",
        check=_liveness,
    ),
    ManifestRule(
        name="k8s-service-links",
        severity="warning",
        about="A vLLM pod with `enableServiceLinks`, Kubernetes' default.",
        fix="set enableServiceLinks: false",
        check=_links,
    ),
    ManifestRule(
        name="k8s-strategy",
        severity="warning",
        about="A model's Deployment that is rolled out by a surge.",
        fix="set strategy: {type: Recreate}, unless spare GPUs are there",
        check=_surge,
    ),
    ManifestRule(
        name="k8s-sleep",
        severity="warning",
        about="`sleep` of a model on a cluster.",
        fix="remove sleep: models are stopped instead",
        check=_sleep,
    ),
)
