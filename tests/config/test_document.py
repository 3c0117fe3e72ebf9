"""YAML read with places, stricter than YAML."""

from __future__ import annotations

from decimal import Decimal

import pytest

from hotseat.config.document import Document, dotted, read


def problems(text: str, **env: str) -> list[str]:
    return [str(problem) for problem in read(text, "f.yaml", env).problems]


def data(text: str, **env: str) -> object:
    document = read(text, "f.yaml", env)
    assert not document.problems
    return document.data


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("5", 5),
        ("-5", -5),
        ("0.90", Decimal("0.90")),
        ("1.0", Decimal("1.0")),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("30m", "30m"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        (".5", ".5"),
        ("1e5", "1e5"),
        ("9" * 40, "9" * 40),
        ("'5'", "5"),
        ('"yes"', "yes"),
        (".inf", ".inf"),
        ("1_000", "1_000"),
    ],
)
def test_plain_values_lose_nothing(written: str, meant: object) -> None:
    assert data(f"a: {written}") == {"a": meant}


def test_keys_are_text() -> None:
    assert data("{0: a, yes: b, 1.5: c}") == {"0": "a", "yes": "b", "1.5": "c"}


def test_duplicate_keys_are_refused_with_both_lines() -> None:
    assert problems("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n") == [
        "f.yaml:5: b.c: duplicate key (first on line 3) (remove one of the two)"
    ]


def test_merges_fill_what_is_not_there() -> None:
    text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  a: 9\n"
    document = read(text, "f.yaml", {})
    assert document.data["z"] == {"a": 9, "b": 2, "c": 4}
    assert document.position(("z", "a")).line == 5
    assert document.position(("z", "b")).line == 1
    assert document.position(("z", "c")).line == 2
    assert problems("a: {<<: 5}") == ["f.yaml:1: a: <<: expects a mapping or a list of mappings"]


def test_variables_are_replaced_as_text() -> None:
    text = "a: ${A}\nb: x${A}y\nc: ${B:-30m}\nd: ${E:-e}\ne: ${E-f}\nf: $${A}\ng: $A $1\nh: '${A}'\n"
    assert data(text, A="5", E="") == {
        "a": "5",
        "b": "x5y",
        "c": "30m",
        "d": "e",
        "e": "",
        "f": "${A}",
        "g": "$A $1",
        "h": "5",
    }


def test_a_missing_variable_is_told_with_its_name() -> None:
    assert problems("m:\n  key: ${NOT_SET}\n") == [
        "f.yaml:2: m.key: environment variable NOT_SET is not set "
        "(set it, or add a default: ${NOT_SET:-value})"
    ]
    assert "incomplete variable reference" in problems("a: ${")[0]
    assert "incomplete variable reference" in problems("a: ${1x}")[0]


def test_variables_bring_no_yaml_with_them() -> None:
    assert data("a: ${A}", A="[1, {b: c}]\nd: e") == {"a": "[1, {b: c}]\nd: e"}
    assert data("a: ${A}", A="${B}") == {"a": "${B}"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: [1", 1, "not valid YAML"),
        ("a: 1\n\tb: 2", 2, "tabs"),
        ("a: b: c", 1, "colon in quotes"),
        ("a: *nothing", 1, "undefined alias"),
        ("a: 1\n---\nb: 2", 2, "expected a single document"),
        ("a: !tag 5", 1, "tags are not supported"),
        ("? [a]\n: 1", 1, "keys must be text"),
        ("a: &a [*a]", 1, "an alias of itself"),
        ("a: &a {b: *a}", 1, "an alias of itself"),
        ("a: &a {<<: *a}", 1, "an alias of itself"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, line: int, words: str) -> None:
    (problem,) = read(text, "f.yaml", {}).problems
    assert words in str(problem)
    assert problem.line == line


def test_hostile_documents_are_bounded() -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    assert "too large" in problems(laughs)[0]
    assert "nested too deeply" in problems("[" * 1500)[0]
    assert "nested too deeply" in problems("[" * 80 + "]" * 80)[0]
    assert "not valid YAML" in problems("a: \x01")[0]


def test_places_fall_back_to_what_is_around() -> None:
    document = read("a:\n  b:\n    - 1\n    - 2\n", "f.yaml", {})
    assert document.position(("a", "b", 1)).line == 4
    assert document.position(("a", "b", 7)).line == 2
    assert document.position(("x",)).line == 1
    assert Document("none").position(("x",)).line is None
    assert dotted(("a", "b", 1, "c")) == "a.b[1].c"
