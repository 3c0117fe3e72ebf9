"""``hotseat lint``: find mistakes in the Compose files of a stack, or in the manifests of a cluster."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from hotseat.commands._errors import InvalidConfig
from hotseat.commands._output import count, echo_json
from hotseat.commands._stack import StackUnreadable, read_settings, read_stack
from hotseat.commands._terminal import coloured
from hotseat.config import ConfigError, load
from hotseat.stack.compose.reading import PLACEHOLDER
from hotseat.stack.lint import lint, table
from hotseat.stack.lint.findings import Finding, LintedStack
from hotseat.stack.lint.kubernetes import ManifestsUnreadable, lint_manifests, read_manifests

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@click.command(
    "lint",
    epilog="""\b
Examples:
  hotseat lint deploy/compose
  hotseat lint docker-compose.yml docker-compose.public.yml --json
  hotseat lint k8s

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
    """Find mistakes in the Compose files of a stack, or the manifests of a cluster, before they bite.

    Several FILEs are merged, as with docker compose -f. For a folder, or without FILE, the files are those
    that Compose would use there, or the manifests beside a kustomization.yaml. Works without
    a .env and without Compose.
    """
    if rules:
        click.echo(table(), nl=False)
        return
    folders = [file for file in files if file.is_dir()]
    if folders and len(files) > 1:
        raise StackUnreadable("give one folder, or files, but not both")
    folder = folders[0] if folders else files[0].parent if files else Path()
    beside = config_file or folder / "hotseat.yaml"
    known = bool(config_file) or beside.is_file()
    if not files[1:] and (folder / "kustomization.yaml").is_file() and (folders or not files):
        report = _lint_manifests(folder, beside if known else None)
    else:
        report = _lint_compose(folder, () if folders else files, beside if known else None)
    found = report.findings
    failed = any(one.severity == "error" or strict for one in found)
    if as_json:
        findings = [one.as_json() for one in found]
        echo_json({"read_by": report.read_by, "files": report.files, "findings": findings})
    else:
        for one in found:
            click.echo(_line(one))
        errors = sum(one.severity == "error" for one in found)
        totals = f"{count(errors, 'error')}, {count(len(found) - errors, 'warning')}"
        unchecked = "" if known else "; no hotseat.yaml to compare with"
        click.echo(f"{report.about}: {totals}{unchecked}", err=bool(found))
    sys.exit(1 if failed else 0)


@dataclass(frozen=True, slots=True)
class _LintReport:
    """Report of a lint run: the files read, and the findings."""

    files: list[str]
    read_by: str
    about: str
    findings: list[Finding]


def _lint_compose(folder: Path, files: tuple[Path, ...], config: Path | None) -> _LintReport:
    reading = read_stack(folder, files)
    settings = read_settings(config, folder) if config is not None else None
    stack = LintedStack(project=reading.project, written=reading.written, settings=settings)
    names = ", ".join(file.name for file in reading.files)
    services = count(len(reading.project.services), "service")
    about = f"{names} ({services}, read by {reading.read_by})"
    found = lint(stack, str(reading.files[0]))
    return _LintReport([str(file) for file in reading.files], reading.read_by, about, found)


def _lint_manifests(folder: Path, config: Path | None) -> _LintReport:
    settings = None
    if config is not None:
        # The pods have the variables; here any value does.
        named = _VARIABLE.findall(config.read_text(encoding="utf-8"))
        given = {name: value for name, value in os.environ.items() if value}
        try:
            settings = load(config, {**dict.fromkeys(named, PLACEHOLDER), **given})
        except ConfigError as error:
            raise InvalidConfig(error) from None
    try:
        manifests = read_manifests(folder, settings)
    except ManifestsUnreadable as error:
        raise StackUnreadable(str(error)) from None
    files = sorted({one.file for one in manifests.objects})
    about = f"{folder} ({count(len(manifests.objects), 'object')})"
    return _LintReport(files, "hotseat", about, lint_manifests(manifests))


def _line(finding: Finding) -> str:
    where = f"{finding.file}:{finding.line}" if finding.line else finding.file
    service = f"{finding.service}: " if finding.service else ""
    severity = coloured(finding.severity, finding.severity)
    return f"{where}: {severity} [{finding.rule}] {service}{finding.message}\n    {finding.fix}"
