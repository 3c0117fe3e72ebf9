"""The rules of ``hotseat lint``: checks of a stack's files that need no access to the machine."""

from hotseat.stack.lint import exposure, kubernetes, naming, running
from hotseat.stack.lint.findings import Finding, LintedStack, LintRule

_INTRODUCTION = """\
# The rules of `hotseat lint`

`hotseat lint [FILE…]` checks the files of a Compose stack before you start it. It exits with status 1 if it
finds an error; with `--strict`, also if it finds a warning. It needs no `.env`.

If Compose v2 is installed (`docker compose` or `docker-compose`), Compose resolves the files. Otherwise
hotseat reads them itself: it supports several files, `extends`, anchors, `.env` and variables, but not
`include`, and it ignores `env_file`.

For a folder with a `kustomization.yaml` (`hotseat export kubernetes` writes one) it checks the manifests
beside it; the rules for these begin with `k8s-`.
"""

RULES: tuple[LintRule, ...] = (*naming.RULES, *exposure.RULES, *running.RULES)


def lint(stack: LintedStack, file: str) -> list[Finding]:
    """All findings, in file order; ``file`` is named in findings without a position."""
    found = [finding for rule in RULES for finding in rule.findings(stack, file)]
    return sorted(found, key=lambda one: (one.file, one.line or 0, one.rule))


def table() -> str:
    """The table of rules that ``hotseat lint --rules`` prints."""
    every: tuple[LintRule | kubernetes.ManifestRule, ...] = (*RULES, *kubernetes.RULES)
    rows = [f"| `{one.name}` | {one.severity} | {one.about} | {one.fix} |" for one in every]
    return "\n".join(["| rule | severity | finds | what to do |", "|---|---|---|---|", *rows]) + "\n"


def reference() -> str:
    """The page ``docs/reference/lint.md``."""
    return _INTRODUCTION + "\n" + table()
