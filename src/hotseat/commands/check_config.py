"""``hotseat check-config``: is the configuration right?"""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import click

from hotseat.commands._errors import InvalidConfig
from hotseat.commands._table import table
from hotseat.config import ConfigError, load
from hotseat.core.spec import ModelSpec, Settings


@click.command(
    "check-config",
    epilog="""\b
Examples:
  hotseat check-config -c hotseat.yaml
  hotseat check-config --json | jq '.problems[].message'
  hotseat check-config --schema > config.schema.json

Exit status: 0 it is right, 2 it is not.""",
)
@click.option(
    "-c",
    "--config",
    metavar="FILE",
    help="The configuration; by default the one that serve would read. [env: HOTSEAT_CONFIG]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of the file, for editors, and end.")
def command(config: str | None, as_json: bool, schema: bool) -> None:
    """Say whether a configuration is right, or all that is wrong with it.

    Every problem is told with its file, line and key. Nothing is started.
    """
    if schema:
        from hotseat.config.reference import schema_text

        click.echo(schema_text(), nl=False)
        return
    try:
        settings = load(config, os.environ)
    except ConfigError as error:
        if as_json:
            problems = [asdict(problem) for problem in error.problems]
            click.echo(json.dumps({"ok": False, "problems": problems}, indent=2))
            raise click.exceptions.Exit(InvalidConfig.exit_code) from None
        raise InvalidConfig(error) from None
    if as_json:
        click.echo(json.dumps({"ok": True, "file": settings.source, "problems": []}, indent=2))
    else:
        click.echo(_summary(settings))


def _summary(settings: Settings) -> str:
    host, port = settings.serve.host, settings.serve.port
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    paths: dict[str, list[str]] = {}
    for route in settings.routes:
        paths.setdefault(route.model, []).append(route.path)
    rows = [
        [
            name,
            model.runtime,
            ", ".join(paths.get(name, [])),
            _gpu(model),
            _idle(model),
            model.launch.describe(),
        ]
        for name, model in settings.models.items()
    ]
    return (
        f"{settings.source} is right. It listens on {at}, the state is in {settings.serve.state_dir}.\n\n"
        + table(["MODEL", "RUNTIME", "PATH", "GPU", "IDLE", "STARTS"], rows)
    )


def _gpu(model: ModelSpec) -> str:
    shares = {device: f"{ppm / 10_000:g}%" for device, ppm in model.scheduling.footprint.items()}
    if list(shares) == ["0"]:
        return shares["0"]
    return " ".join(f"{device}:{share}" for device, share in shares.items())


def _idle(model: ModelSpec) -> str:
    return "never" if model.scheduling.idle_s is None else f"{model.scheduling.idle_s:g}s"
