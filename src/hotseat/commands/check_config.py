"""``hotseat check-config``: check a configuration."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict

import click

from hotseat.commands._environment import with_env_file
from hotseat.commands._errors import InvalidConfig
from hotseat.commands._output import echo_json, table
from hotseat.config import ConfigError, load
from hotseat.config.lockouts import lockouts
from hotseat.core.spec import ModelSpec, Settings
from hotseat.weights.downloads import missing_weights


@click.command(
    "check-config",
    epilog="""\b
Examples:
  hotseat check-config -c hotseat.yaml
  hotseat check-config --json | jq '.problems[].message'
  hotseat check-config --schema > config.schema.json

Exit status: 0 valid, 2 invalid.""",
)
@click.option(
    "-c",
    "--config",
    metavar="FILE",
    help="The configuration. Default: the one that hotseat serve would read. [env: HOTSEAT_CONFIG]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of the file, for editors, and exit.")
def command(config: str | None, as_json: bool, schema: bool) -> None:
    """Check a configuration and list all its problems.

    Each problem is printed with its file, line and key. Nothing is started.
    """
    if schema:
        from hotseat.config.reference import schema_text

        click.echo(schema_text(), nl=False)
        return
    try:
        settings = load(config, with_env_file(config, os.environ))
    except ConfigError as error:
        if as_json:
            problems = [asdict(problem) for problem in error.problems]
            echo_json({"ok": False, "problems": problems})
            raise click.exceptions.Exit(InvalidConfig.exit_code) from None
        raise InvalidConfig(error) from None
    warnings = list(lockouts(settings, time.time()))
    if as_json:
        echo_json(
            {
                "ok": True,
                "file": settings.source,
                "problems": [],
                "warnings": [one.as_json() for one in warnings],
                "notes": list(_notes(settings)),
            }
        )
    else:
        click.echo(_summary(settings))
        for one in warnings:
            click.echo(f"\nWarning: {one}")
        for note in _notes(settings):
            click.echo(f"\nNote: {note}")


def _summary(settings: Settings) -> str:
    at = " and ".join(map(str, settings.serve.listen))
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
        f"{settings.source} is valid. hotseat will listen on {at} and keep its state in "
        f"{settings.serve.state_dir}.\n\n"
        + table(["MODEL", "RUNTIME", "PATH", "GPU", "IDLE", "STARTS"], rows)
    )


def _notes(settings: Settings) -> Iterator[str]:
    """Yield what is no mistake and should be known before the first start."""
    for name, model in settings.models.items():
        missing = missing_weights(model)
        if missing is None:
            continue
        seeded = model.scheduling.download_timeout_s is not None
        yield (
            f"models.{name}: the weights of {missing.wanted} are not in {missing.folder}; "
            f"{'they are downloaded before' if seeded else 'they are downloaded by'} the first start. "
            f"To download them now: hotseat seed {name}"
        )


def _gpu(model: ModelSpec) -> str:
    shares = {device: f"{ppm / 10_000:g}%" for device, ppm in model.scheduling.footprint.items()}
    if list(shares) == ["0"]:
        return shares["0"]
    return " ".join(f"{device}:{share}" for device, share in shares.items())


def _idle(model: ModelSpec) -> str:
    return "never" if model.scheduling.idle_s is None else f"{model.scheduling.idle_s:g}s"
