"""deploy/wsl/defender-exclusion.ps1, read and not run: there is no PowerShell, and no Defender, on Linux.

It is parsed, and its commands, options and variables are held against what there is. What Windows does with
them is not checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_powershell

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "wsl" / "defender-exclusion.ps1"
COMMANDS = {
    "Add-MpPreference": {"-ExclusionPath"},
    "Get-ChildItem": {"-LiteralPath", "-Filter", "-ErrorAction"},
    "Get-DistroFolder": set(),  # its own
    "Get-Item": {"-LiteralPath"},
    "Get-MpPreference": set(),
    "Join-Path": set(),
    "Remove-MpPreference": {"-ExclusionPath"},
    "Set-StrictMode": {"-Version"},
    "Test-Path": {"-LiteralPath"},
    "Where-Object": set(),
    "Write-Output": set(),
}
"""Those of Windows PowerShell 5.1 and of Defender's module that it may use, and their options."""
GIVEN = {"$_", "$null", "$true", "$false", "$PSCmdlet"}
CHANGES = {"Add-MpPreference", "Remove-MpPreference"}


def tree(text: str) -> tree_sitter.Node:
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    return parser.parse(text.encode()).root_node


def every(node: tree_sitter.Node, *kinds: str) -> Iterator[tree_sitter.Node]:
    """The nodes of these kinds below."""
    for child in node.children:
        if child.type in kinds:
            yield child
        yield from every(child, *kinds)


def words(node: tree_sitter.Node) -> str:
    assert node.text is not None
    return node.text.decode()


@pytest.fixture(scope="module")
def text() -> str:
    return SCRIPT.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script(text: str) -> tree_sitter.Node:
    return tree(text)


def test_it_can_be_parsed(script: tree_sitter.Node) -> None:
    assert not script.has_error


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("if ($Remove) {", "if ($Remove {"),
        ("if ($Remove) {", "if ($Remove)"),
        ("elseif ($excluded)", "elseif $excluded"),
        ("'Add a Defender exclusion'", "'Add a Defender exclusion"),
        ("#>", ""),
    ],
)
def test_the_parser_would_see_a_slip(text: str, right: str, wrong: str) -> None:
    assert right in text
    assert tree(text.replace(right, wrong)).has_error


def test_it_uses_commands_and_options_that_exist(script: tree_sitter.Node) -> None:
    used: dict[str, set[str]] = {}
    for command in every(script, "command"):
        name = next(every(command, "command_name"))
        own = [
            one for one in every(command, "command_parameter") if one.parent and one.parent.parent == command
        ]
        used.setdefault(words(name), set()).update(map(words, own))
    assert set(used) == set(COMMANDS)
    assert not [name for name, options in used.items() if not options <= COMMANDS[name]]


def test_no_variable_is_read_that_nobody_sets(script: tree_sitter.Node) -> None:
    """Under Set-StrictMode that ends the script."""
    declared = {
        words(one) for parameter in every(script, "script_parameter") for one in every(parameter, "variable")
    }
    assigned = {
        words(variable)
        for left in every(script, "left_assignment_expression")
        for variable in every(left, "variable")
    }
    read = {words(one) for one in every(script, "variable")}
    assert read - declared - assigned - GIVEN == set()


def test_what_it_documents_is_what_it_takes(text: str, script: tree_sitter.Node) -> None:
    (block,) = every(script, "param_block")
    taken = [words(one) for one in every(block, "variable") if words(one) not in GIVEN]
    assert [f"${name}" for name in re.findall(r"^\.PARAMETER (\w+)", text, re.MULTILINE)] == taken


def test_each_change_asks_whether_it_should_happen(script: tree_sitter.Node) -> None:
    """So that -WhatIf changes nothing."""
    changes = [one for one in every(script, "command") if words(next(every(one, "command_name"))) in CHANGES]
    assert len(changes) == 2
    for change in changes:
        node = change.parent
        while node is not None and "ShouldProcess" not in words(node).split("{")[0]:
            node = node.parent
        assert node is not None
        assert node.type in ("elseif_clause", "if_statement"), node.type
