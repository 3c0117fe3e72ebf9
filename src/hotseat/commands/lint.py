"""``hotseat lint``: find mistakes in the Compose files of a stack."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hotseat.commands._output import count, echo_json
from hotseat.commands._stack import StackUnreadable, read_settings, read_stack
from hotseat.stack.lint import lint, table
from hotseat.stack.lint.findings import Finding, LintedStack


@click.command(
    "lint",
    epilog="""\b
Examples:
  hotseat lint deploy/compose
  hotseat lint docker-compose.yml docker-compose.public.yml --json

Exit status: 0 no errors, 1 errors found (with --strict also warnings), 2 the files cannot be read.""",
)
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[FILE…]")
@click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="hotseat's configuration.  [default: hotseat.yaml next to the first file]",
)
@click.option("--strict", is_flag=True, help="Also fail on warnings.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--rules", is_flag=True, help="Print the table of rules and exit.")
def command(
    files: tuple[Path, ...], config_file: Path | None, strict: bool, as_json: bool, rules: bool
) -> None:
    """Find mistakes in the Compose files of a stack before they bite.

    Several FILEs are merged, as with docker compose -f. For a folder, or without FILE, the files are those
    that Compose would use there. Works without a .env and without Compose.
    """
    if rules:
        click.echo(table(), nl=False)
        return
    folders = [file for file in files if file.is_dir()]
    if folders and len(files) > 1:
        raise StackUnreadable("give one folder, or files, but not both")
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
        echo_json(answer)
    else:
        for one in found:
            click.echo(_line(one))
        errors = sum(one.severity == "error" for one in found)
        names = ", ".join(file.name for file in reading.files)
        services = count(len(reading.project.services), "service")
        about = f"{names} ({services}, read by {reading.read_by})"
        totals = f"{count(errors, 'error')}, {count(len(found) - errors, 'warning')}"
        unchecked = "" if settings else "; no hotseat.yaml to compare with"
        click.echo(f"{about}: {totals}{unchecked}", err=bool(found))
    sys.exit(1 if failed else 0)


def _line(finding: Finding) -> str:
    where = f"{finding.file}:{finding.line}" if finding.line else finding.file
    service = f"{finding.service}: " if finding.service else ""
    return f"{where}: {finding.severity} [{finding.rule}] {service}{finding.message}\n    {finding.fix}"
