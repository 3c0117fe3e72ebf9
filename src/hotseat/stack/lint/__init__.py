"""The rules of ``hotseat lint``: what the files of a stack must promise, whatever the host."""

from hotseat.stack.lint import exposure, naming, running
from hotseat.stack.lint.findings import Finding, LintedStack, LintRule

_INTRODUCTION = """\
# The rules of `hotseat lint`

`hotseat lint [FILE…]` checks the files of a stack; it exits with 1 when it finds an error, and with
`--strict` for a warning too. It asks Compose what the files mean where Compose v2 is at hand
(`docker compose`, or `docker-compose`), and reads them itself where it is not: several files on top
of each other, `extends`, anchors, `.env` and variables are understood then, `include` is refused, and
`env_file` of services is not looked into. It works without a `.env`.
"""

RULES: tuple[LintRule, ...] = (*naming.RULES, *exposure.RULES, *running.RULES)


def lint(stack: LintedStack, file: str) -> list[Finding]:
    """All findings, in the order of the file; ``file`` is its name for what has no line."""
    found = [finding for rule in RULES for finding in rule.findings(stack, file)]
    return sorted(found, key=lambda one: (one.file, one.line or 0, one.rule))


def table() -> str:
    """The table of rules, as ``hotseat lint --rules`` prints it."""
    rows = [f"| `{one.name}` | {one.severity} | {one.about} | {one.fix} |" for one in RULES]
    return "\n".join(["| rule | severity | finds | what to do |", "|---|---|---|---|", *rows]) + "\n"


def reference() -> str:
    """The page ``docs/reference/lint.md``."""
    return _INTRODUCTION + "\n" + table()
