"""Names of workloads, and selectors of pods."""

from __future__ import annotations

import pytest

from hotseat.runtimes.kubernetes.workload import parse_selector, parse_workload


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("chat", "apps/v1/deployments/chat"),
        ("deployment/chat", "apps/v1/deployments/chat"),
        ("deployments/chat", "apps/v1/deployments/chat"),
        ("deploy/chat", "apps/v1/deployments/chat"),
        ("StatefulSet/chat", "apps/v1/statefulsets/chat"),
        ("lws/chat", "leaderworkerset.x-k8s.io/v1/leaderworkersets/chat"),
        ("model/chat", "kubeai.org/v1/models/chat"),
        ("things.v1beta1.example.com/chat", "example.com/v1beta1/things/chat"),
    ],
)
def test_a_workload_is_named_as_for_kubectl(text: str, path: str) -> None:
    workload = parse_workload(text)
    assert f"{workload.group}/{workload.version}/{workload.plural}/{workload.name}" == path


@pytest.mark.parametrize(
    "text", ["", "deployment/", "pod/chat", "Chat", "a/b/c", "deployment/../x", "chat\n"]
)
def test_what_is_no_workload_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_workload(text)


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        ("app=chat", {"app": "chat"}, True),
        ("app==chat", {"app": "chat", "more": "x"}, True),
        ("app=chat", {"app": "coder"}, False),
        ("app=chat", {}, False),
        ("app=chat,tier=gpu", {"app": "chat"}, False),
        ("app=chat, tier in (gpu, cpu)", {"app": "chat", "tier": "cpu"}, True),
        ("app in (a,b),app notin (b)", {"app": "b"}, False),
        ("app notin (b)", {}, True),
        ("app!=chat", {}, True),
        ("app!=chat", {"app": "chat"}, False),
        ("app", {"app": ""}, True),
        ("!app", {"app": ""}, False),
        ("!app,x=", {"x": ""}, True),
        ("app.kubernetes.io/name=chat", {"app.kubernetes.io/name": "chat"}, True),
    ],
)
def test_a_selector_matches_as_the_api_says(selector: str, labels: dict[str, str], matches: bool) -> None:
    assert parse_selector(selector)(labels) is matches


@pytest.mark.parametrize("selector", ["", ",", "a b", "a in b", "=x", "a=(b"])
def test_a_selector_that_cannot_be_read_matches_nothing(selector: str) -> None:
    with pytest.raises(ValueError, match="selector"):
        parse_selector(selector)
