"""``hotseat export``: the files of a platform that outgrows one machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import yaml

from hotseat import __version__
from hotseat.commands._errors import CommandFailed
from hotseat.commands._stack import StackUnreadable, read_settings, read_stack
from hotseat.core.spec import Settings
from hotseat.stack.compose.model import ComposeModel
from hotseat.stack.compose.reading import stack_environment
from hotseat.stack.kubernetes import manifests
from hotseat.stack.kubernetes.config_file import converted
from hotseat.stack.kubernetes.models import (
    SECRET,
    CannotExport,
    ExportedModel,
    SecretVariables,
    exported_models,
)

_VLLM_IMAGE = "vllm/vllm-openai:v0.33.0"


@click.group("export")
def command() -> None:
    """Write the manifests of a cluster from the same configuration."""


@command.command(
    "kubernetes",
    epilog=f"""\b
Examples:
  hotseat export kubernetes -c hotseat.yaml --gpus 16 -o k8s
  kubectl create secret generic {SECRET} --from-env-file=.env
  kubectl apply -k k8s

Exit status: 0 written, 1 a model cannot be exported, 2 wrong usage or configuration.""",
)
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=Path("hotseat.yaml"),
    show_default=True,
    metavar="FILE",
    help="The configuration.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("kubernetes"),
    show_default=True,
    metavar="DIR",
    help="The folder to write: a Kustomize base.",
)
@click.option(
    "--gpus", type=click.IntRange(1), default=1, show_default=True, help="GPUs that the models may use."
)
@click.option(
    "--image", default=_VLLM_IMAGE, show_default=True, help="The image for models that are plain processes."
)
@click.option(
    "--launcher-image", default=f"hotseat:{__version__}", show_default=True, help="The launcher's image."
)
@click.option(
    "--replicas", type=click.IntRange(1), default=2, show_default=True, help="Launchers; one leads."
)
@click.option("--namespace", metavar="NAME", help="The namespace; by default kubectl's own.")
@click.option("--cache-size", default="500Gi", show_default=True, help="The volume for weights.")
@click.option("--service-monitor", is_flag=True, help="Also a ServiceMonitor of the Prometheus operator.")
def kubernetes(
    file: Path,
    output: Path,
    gpus: int,
    image: str,
    launcher_image: str,
    replicas: int,
    namespace: str | None,
    cache_size: str,
    service_monitor: bool,
) -> None:
    """Write Deployments, Services, RBAC, the launcher and its configuration as a Kustomize base.

    Models keep their names, routes, keys and prompts; each becomes a Deployment with as many whole GPUs as
    its command uses. Secrets are in no file: the pods read them from a Secret that is made of .env.
    """
    settings = read_settings(file, file.parent)
    environment = stack_environment(file.parent, os.environ)
    secrets = SecretVariables(environment, settings.secrets | _upstream_keys(settings))
    try:
        models = list(exported_models(settings, _projects(settings), image, secrets))
    except CannotExport as error:
        raise CommandFailed(str(error)) from None
    most = max((one.gpus for one in models), default=1)
    if most > gpus:
        raise click.UsageError(f"--gpus {gpus}: the largest model needs {most}")
    text = converted(file.read_text(encoding="utf-8"), settings.models, models, gpus, secrets)
    files = _files(settings, models, launcher_image, replicas, cache_size, service_monitor)
    _write(output, text, files, namespace)
    click.echo(f"Wrote {output}: {', '.join(['kustomization.yaml', 'hotseat.yaml', *files])}")
    for variable in sorted(secrets.missing):
        click.echo(f"Add {variable} to .env: the files name it where a secret was written out.")
    click.echo(
        f"Next: kubectl create secret generic {SECRET} --from-env-file=.env, then kubectl apply -k {output}"
    )


def _files(
    settings: Settings,
    models: list[ExportedModel],
    launcher_image: str,
    replicas: int,
    cache_size: str,
    service_monitor: bool,
) -> dict[str, list[manifests.Object]]:
    workloads = manifests.workloads_of(settings.models.values(), models)
    drain_s = settings.serve.drain_timeout_s
    files: dict[str, list[manifests.Object]] = {
        "rbac.yaml": manifests.rbac(workloads),
        "launcher.yaml": [
            manifests.launcher_deployment(launcher_image, replicas, drain_s),
            manifests.launcher_service(),
            manifests.disruption_budget(),
        ],
        "network-policies.yaml": manifests.network_policies(models),
    }
    if models:
        files["cache.yaml"] = [manifests.cache_claim(cache_size)]
    for model in models:
        files[f"model-{model.name}.yaml"] = [
            manifests.model_deployment(model),
            manifests.model_service(model),
        ]
    if service_monitor:
        files["service-monitor.yaml"] = [manifests.service_monitor()]
    return files


def _write(
    output: Path, config: str, files: dict[str, list[manifests.Object]], namespace: str | None
) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "hotseat.yaml").write_text(config, encoding="utf-8")
        for name, objects in files.items():
            _dump(output / name, objects)
        _dump(output / "kustomization.yaml", [manifests.kustomization(list(files), namespace)])
    except OSError as error:
        raise CommandFailed(f"cannot write {output}: {error.strerror}") from error


def _dump(path: Path, objects: list[Any]) -> None:
    text = yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True, width=110)
    path.write_text(text, encoding="utf-8")


def _upstream_keys(settings: Settings) -> frozenset[str]:
    return frozenset(model.upstream_key for model in settings.models.values() if model.upstream_key)


def _projects(settings: Settings) -> dict[str, ComposeModel]:
    """The Compose projects that models come from, by their files."""
    found: dict[str, ComposeModel] = {}
    for model in settings.models.values():
        project = model.launch.compose_project
        if project is not None and project.file not in found:
            if not Path(project.file).is_file():
                raise StackUnreadable(f"models.{model.name}: there is no Compose file {project.file}")
            found[project.file] = read_stack(Path(project.file).parent, (Path(project.file),)).project
    return found
