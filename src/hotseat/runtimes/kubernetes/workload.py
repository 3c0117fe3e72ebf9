"""Workloads: objects of a cluster with a ``/scale`` subresource, and the selectors of their pods."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_KINDS = {
    "deployment": ("apps", "v1", "deployments", "Deployment"),
    "statefulset": ("apps", "v1", "statefulsets", "StatefulSet"),
    "leaderworkerset": ("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet"),
    "model": ("kubeai.org", "v1", "models", "Model"),
}
_SHORT = {"deploy": "deployment", "sts": "statefulset", "lws": "leaderworkerset"}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z")
_TYPE = re.compile(r"(?P<plural>[a-z][a-z0-9]*)\.(?P<version>v[0-9][a-z0-9]*)\.(?P<group>[a-z0-9.-]+)\Z")


@dataclass(frozen=True, slots=True)
class Workload:
    """An object of the cluster that can be scaled."""

    group: str
    version: str
    plural: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


def parse_workload(text: str) -> Workload:
    """Read ``deployment/chat``, ``chat`` (a Deployment) or ``PLURAL.VERSION.GROUP/NAME``, as kubectl does.

    Raises ``ValueError`` with what was expected.
    """
    kind, slash, name = text.rpartition("/")
    kind = (kind if slash else "deployment").lower()
    if not _NAME.match(name) or len(name) > 253:
        raise ValueError(f"{name!r} cannot be the name of a workload: lower-case letters, digits and - only")
    if (qualified := _TYPE.match(kind)) is not None:
        group, version, plural = qualified["group"], qualified["version"], qualified["plural"]
        return Workload(group, version, plural, plural.removesuffix("s").capitalize(), name)
    kind = _SHORT.get(kind, kind)
    known = _KINDS.get(kind) or _KINDS.get(kind.removesuffix("s"))
    if known is None:
        raise ValueError(
            f"the kind {kind!r} is not known: write {', '.join(_KINDS)}, or PLURAL.VERSION.GROUP/NAME"
        )
    return Workload(*known, name)


Labels = Mapping[str, str]
Match = Callable[[Labels], bool]

_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<missing>[^\s,=!()]+)"
    r"|(?P<key>[^\s,=!()]+)\s*(?:(?P<op>==|=|!=)\s*(?P<value>[^\s,()]*)"
    r"|(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?)\s*(?:,|\Z)"
)


def parse_selector(text: str) -> Match:
    """Return a function that says whether labels match a selector in the API's string form.

    Raises ``ValueError`` for one that cannot be read, or that would match every pod.
    """
    wanted: list[Match] = []
    at = 0
    while at < len(text):
        found = _REQUIREMENT.match(text, at)
        if found is None or found.end() == at:
            raise ValueError(f"the label selector {text!r} cannot be read")
        wanted.append(_requirement(found))
        at = found.end()
    if not wanted:
        raise ValueError("the label selector is empty")
    return lambda labels: all(matches(labels) for matches in wanted)


def _requirement(found: re.Match[str]) -> Match:
    if found["absent"]:
        missing = found["missing"]
        return lambda labels: missing not in labels
    key = found["key"]
    if found["set"]:
        values = {one.strip() for one in found["values"].split(",")}
        if found["set"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found["op"] == "!=":
        other = found["value"]
        return lambda labels: labels.get(key) != other
    if found["op"]:
        value = found["value"]
        return lambda labels: labels.get(key) == value
    return lambda labels: key in labels
