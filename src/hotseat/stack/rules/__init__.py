"""The rules of ``hotseat lint``: what the files of a stack must promise, whatever the host."""

from hotseat.stack.findings import Finding, Rule, Stack
from hotseat.stack.rules import exposure, naming, running

RULES: tuple[Rule, ...] = (*naming.RULES, *exposure.RULES, *running.RULES)


def lint(stack: Stack, file: str) -> list[Finding]:
    """All findings, in the order of the file; ``file`` is its name for what has no line."""
    found = [finding for rule in RULES for finding in rule.findings(stack, file)]
    return sorted(found, key=lambda one: (one.file, one.line or 0, one.rule))


def reference() -> str:
    """The table of rules, as ``docs/reference/lint.md`` shows it."""
    rows = [f"| `{one.name}` | {one.severity} | {one.about} | {one.fix} |" for one in RULES]
    return "\n".join(["| rule | severity | finds | what to do |", "|---|---|---|---|", *rows]) + "\n"
