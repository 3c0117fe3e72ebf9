"""Naming rules of the package: unique class names, readable docstrings, a complete glossary."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "hotseat"

TWINS = {
    "Lease": "the gateway's protocol, and the supervisor's class that fulfils it",
    "Ticket": "the gateway's protocol, and the supervisor's class that fulfils it",
}
"""Public class names that may exist twice: one of the two is a ``Protocol``."""

OPENINGS = re.compile(
    r"""(?xi)
    (?: (?: from | to | by | with | for | of | in | on | at | about | under | until | since ) \s+ )?
    (?: who | whom | whose | whoever | what | whatever | which | whichever | where | wherever | why | how )
    (?= \W | $ )
    | (?: it | its | they | he | she | we | you | i | when | there | is | are | does | has ) (?= \W | $ )
    """
)
"""Openings that a docstring must not have: pronouns, interrogatives, questions, "There is"."""


@dataclass(frozen=True)
class Definition:
    """A module, class or function of the package."""

    place: str
    """File and line."""
    name: str
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstring: str

    @property
    def is_public_class(self) -> bool:
        return isinstance(self.node, ast.ClassDef) and not self.name.startswith("_")

    @property
    def is_protocol(self) -> bool:
        bases = self.node.bases if isinstance(self.node, ast.ClassDef) else []
        return any(ast.unparse(base).split("[")[0].split(".")[-1] == "Protocol" for base in bases)


def _walk(node: ast.AST, path: str, name: str) -> Iterator[Definition]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            own = name if isinstance(inner, ast.Module) else inner.name
            line = 1 if isinstance(inner, ast.Module) else inner.lineno
            yield Definition(f"{path}:{line}", own, inner, (ast.get_docstring(inner) or "").strip())


@cache
def definitions() -> tuple[Definition, ...]:
    """Everything that the package defines."""
    found: list[Definition] = []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += _walk(tree, str(path.relative_to(ROOT)), path.stem)
    return tuple(found)


def glossary() -> str:
    """The glossary of the design page."""
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    found = re.search(r"^## 4\. .*?(?=^## 5\. )", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


def test_public_class_names_are_unique() -> None:
    by_name: dict[str, list[Definition]] = defaultdict(list)
    for one in definitions():
        if one.is_public_class:
            by_name[one.name].append(one)
    repeated = {name: found for name, found in by_name.items() if len(found) > 1}
    places = {name: [one.place for one in found] for name, found in repeated.items() if name not in TWINS}
    assert places == {}, "give each class a name of its own"
    assert set(repeated) == set(TWINS), "an excuse that nothing needs any more"
    for name, found in repeated.items():
        assert sorted(one.is_protocol for one in found) == [False, True], name


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    wrong = [
        f"{one.place} {one.name}: {one.docstring.splitlines()[0]}"
        for one in definitions()
        if OPENINGS.match(one.docstring)
    ]
    assert wrong == [], "\n".join(["begin these docstrings with a verb or a noun:", *wrong])


def test_public_classes_are_in_the_glossary_or_explain_themselves() -> None:
    words = glossary()
    wrong = [
        f"{one.place} {one.name}"
        for one in definitions()
        if one.is_public_class and not re.search(rf"\b{one.name}\b", words) and len(one.docstring.split()) < 5
    ]
    assert wrong == [], "\n".join(["put these into docs/design.md §4, or say in the docstring:", *wrong])


def test_class_names_of_the_design_page_exist() -> None:
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    named = {
        name
        for quoted in re.findall(r"`([^`\n]+)`", page)
        for name in re.findall(r"^([A-Z][a-z]+[A-Z]?\w*)(?=$|\.|\()", quoted)
    }
    names = {one.name for one in definitions()} | {
        target.id
        for one in definitions()
        if isinstance(one.node, ast.Module)
        for line in one.node.body
        if isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name)
    }
    assert named, "the page names classes"
    assert named <= names, sorted(named - names)


@pytest.mark.parametrize(
    "docstring",
    [
        "It answers.",
        "What is asked.",
        "From where a model came.",
        "Who may ask.",
        "There are none.",
        "How often",
        "Where routes lead",
        "Is it up?",
    ],
)
def test_the_rule_finds_openings_that_have_to_be_decoded(docstring: str) -> None:
    assert OPENINGS.match(docstring)


@pytest.mark.parametrize(
    "docstring",
    [
        "Whether the run is ready.",
        "Whole response bodies.",
        "Items in the queue.",
        "Return the route.",
        "Isolation of processes.",
    ],
)
def test_the_rule_lets_nouns_and_verbs_pass(docstring: str) -> None:
    assert not OPENINGS.match(docstring)
