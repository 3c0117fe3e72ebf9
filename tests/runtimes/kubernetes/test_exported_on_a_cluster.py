"""What ``hotseat export kubernetes`` writes, on a real API server, and served from by a real small engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from fakes.cluster import Cluster, collection, user_token
from fakes.cluster_hotseat import USER
from fakes.hotseat import Hotseat
from hotseat.cli import main

pytestmark = pytest.mark.system("etcd", "go", "dpkg-source", "openssl")

ENGINE = Path(__file__).parents[3] / "demo" / "engine.py"
CONFIG = f"""\
models:
  smol:
    command: python {ENGINE} --host 0.0.0.0 --port {{port}} --alias smol
    served_name: smol
    env: {{HF_TOKEN: hf_secret, PLAIN: "1"}}
    aliases: [gpt-4o-mini]
"""


@pytest.fixture
def exported(tmp_path: Path) -> list[dict[str, Any]]:
    (tmp_path / "hotseat.yaml").write_text(CONFIG)
    words = ["export", "kubernetes", "-c", str(tmp_path / "hotseat.yaml"), "-o", str(tmp_path / "k8s")]
    done = CliRunner().invoke(main, [*words, "--gpus", "4"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    files = (tmp_path / "k8s").glob("*.yaml")
    files = [file for file in files if file.name not in ("hotseat.yaml", "kustomization.yaml")]
    return [one for file in files for one in yaml.safe_load_all(file.read_text())]


def test_a_real_api_server_takes_every_object(cluster: Cluster, exported: list[dict[str, Any]]) -> None:
    taken = []
    for one in exported:
        if (
            one["apiVersion"] != "policy/v1"
        ):  # younger than this API server; the schemas are checked elsewhere
            # Under another name: other tests have made objects of these names.
            trial = {**one, "metadata": {**one["metadata"], "name": f"{one['metadata']['name']}-trial"}}
            cluster.request("POST", f"{collection(one)}?dryRun=All", trial)
            taken.append(one["kind"])
    assert len(taken) == len(exported) - 1
    assert {"Deployment", "Service", "Role", "RoleBinding", "NetworkPolicy"} <= set(taken)


def test_a_real_engine_answers_from_what_was_exported(
    cluster: Cluster, exported: list[dict[str, Any]], tmp_path: Path
) -> None:
    found = {(one["kind"], one["metadata"]["name"]): one for one in exported}
    deployment = found["Deployment", "smol"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    # No volumes are provisioned here, and pods share one network: each listens on its own address.
    pod["volumes"] = [one for one in pod["volumes"] if one["name"] != "cache"]
    container["volumeMounts"] = [one for one in container["volumeMounts"] if one["name"] != "cache"]
    container["args"] = ["$(POD_IP)" if word == "0.0.0.0" else word for word in container["args"]]
    binding = found["RoleBinding", "hotseat"]
    binding["subjects"] = [{"kind": "User", "name": USER, "apiGroup": "rbac.authorization.k8s.io"}]
    cluster.apply(deployment, found["Role", "hotseat"], binding)

    kubeconfig = cluster.kubeconfig(USER, user_token(cluster.token, USER))
    hotseat = Hotseat(tmp_path, {}, env={"KUBECONFIG": str(kubeconfig)})
    text = (tmp_path / "k8s" / "hotseat.yaml").read_text()
    hotseat.file.write_text(text.replace("/var/lib/hotseat", str(hotseat.state)))
    hotseat.start()
    try:
        body = {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 8,
        }
        answer = hotseat.send("POST", "/v1/chat/completions", body)
        assert answer.status == 200, answer
        assert answer.json["choices"][0]["message"]["content"]
        assert answer.json["usage"]["completion_tokens"] > 0
        assert cluster.replicas("deployments", "smol") == 1
        assert hotseat.stop() == 0
        assert cluster.replicas("deployments", "smol") == 1  # left for the next leader
    finally:
        hotseat.kill()
        cluster.request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/default/leases/hotseat")
