"""``hotseat lint``: check the Compose files of a stack."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from hotseat.commands._stack import StackUnreadable, read_settings, read_stack
from hotseat.stack.lint import lint, table
from hotseat.stack.lint.findings import Finding, LintedStack


@click.command(
    "lint",
    epilog="""\b
Examples:
  hotseat lint deploy/compose
  hotseat lint docker-compose.yml docker-compose.public.yml --json

Exit status: 0 nothing found, 1 something is wrong, 2 the files cannot be read.""",
)
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[FILE…]")
@click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="hotseat's configuration.  [default: hotseat.yaml beside the first file]",
)
@click.option("--strict", is_flag=True, help="Warnings make it fail too.")
@click.option("--json", "as_json", is_flag=True, help="Print findings as JSON.")
@click.option("--rules", is_flag=True, help="Print the table of rules, and check nothing.")
def command(
    files: tuple[Path, ...], config_file: Path | None, strict: bool, as_json: bool, rules: bool
) -> None:
    """Check the Compose files of a stack: what a person would find out too late.

    FILEs are read on top of each other, as with `docker compose -f`; a folder, or nothing, means the
    files that Compose would take there. Works without a .env and without Compose.
    """
    if rules:
        click.echo(table(), nl=False)
        return
    folders = [file for file in files if file.is_dir()]
    if folders and len(files) > 1:
        raise StackUnreadable("name one folder, or files")
    folder = folders[0] if folders else files[0].parent if files else Path()
    reading = read_stack(folder, () if folders else files)
    beside = config_file or folder / "hotseat.yaml"
    settings = read_settings(beside, folder) if config_file or beside.is_file() else None
    stack = LintedStack(project=reading.project, written=reading.written, settings=settings)
    found = lint(stack, str(reading.files[0]))
    failed = any(one.severity == "error" or strict for one in found)
    if as_json:
        answer = {
            "read_by": reading.read_by,
            "files": [str(file) for file in reading.files],
            "findings": [one.as_json() for one in found],
        }
        click.echo(json.dumps(answer, indent=2))
    else:
        for one in found:
            click.echo(_line(one))
        errors = sum(one.severity == "error" for one in found)
        names = ", ".join(file.name for file in reading.files)
        about = f"{names} ({len(reading.project.services)} services, read by {reading.read_by})"
        agreed = "" if settings else "; no hotseat.yaml to agree with"
        click.echo(f"{about}: {errors} errors, {len(found) - errors} warnings{agreed}", err=bool(found))
    sys.exit(1 if failed else 0)


def _line(finding: Finding) -> str:
    where = f"{finding.file}:{finding.line}" if finding.line else finding.file
    service = f"{finding.service}: " if finding.service else ""
    return f"{where}: {finding.severity} [{finding.rule}] {service}{finding.message}\n    {finding.fix}"
