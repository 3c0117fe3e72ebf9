"""``hotseat lint``: what it prints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hotseat.cli import main
from hotseat.stack.lint import table


@pytest.fixture(autouse=True)
def _no_compose(without_compose: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", without_compose["PATH"])


def lint(*words: object) -> Result:
    return CliRunner().invoke(main, ["lint", *map(str, words)])


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_clean_stack_is_one_line(stack_folder: Path) -> None:
    done = lint(stack_folder)
    assert done.exit_code == 0, done.output
    assert done.output == "docker-compose.yml (4 services, read by hotseat): 0 errors, 0 warnings\n"


def test_a_finding_has_place_rule_and_what_to_do(stack_folder: Path) -> None:
    file = stack_folder / "docker-compose.yml"
    replace(file, 'restart: "no"', "restart: always")
    done = lint(file)
    assert done.exit_code == 1
    number = file.read_text(encoding="utf-8").splitlines().index("  restart: always") + 1
    assert f"{file}:{number}: error [restart] sitechat: " in done.output
    assert '\n    set restart: "no"\n' in done.output


def test_json_has_all_of_it(stack_folder: Path) -> None:
    file = stack_folder / "docker-compose.yml"
    replace(file, "    profiles: [chat]\n", "")
    done = lint(stack_folder, "--json")
    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    assert answer["read_by"] == "hotseat"
    assert answer["files"] == [str(file)]
    by_rule = {one["rule"]: one for one in answer["findings"]}
    assert set(by_rule) == {"profile", "compose-of-model"}
    found = by_rule["profile"]
    assert (found["severity"], found["service"], found["file"]) == ("error", "sitechat", str(file))
    assert isinstance(found["line"], int)
    assert found["fix"]


def test_warnings_fail_only_when_asked(stack_folder: Path) -> None:
    replace(stack_folder / "docker-compose.yml", ":-hotseat:0.1.0}", ":-hotseat}")
    assert lint(stack_folder).exit_code == 0
    done = lint(stack_folder, "--strict")
    assert done.exit_code == 1
    assert "warning [image-tag] launcher" in done.output


def test_several_files_lie_on_top_of_each_other(stack_folder: Path) -> None:
    more = stack_folder / "mine.yml"
    more.write_text("services:\n  sitechat:\n    ports: ['8001:8000']\n", encoding="utf-8")
    done = lint(stack_folder / "docker-compose.yml", more)
    assert done.exit_code == 1
    assert f"{more}:3: error [published-port] sitechat" in done.output


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "docker-compose.yml").write_text("services: ["), "not valid YAML"),
        (lambda folder: (folder / "docker-compose.yml").unlink(), "contains no Compose file"),
        (lambda folder: (folder / "hotseat.yaml").write_text("modles: {}"), "modles"),
        (lambda folder: (folder / ".env").write_text("no assignment"), ".env:1"),
    ],
)
def test_what_cannot_be_read_ends_with_two(break_it: object, message: str, stack_folder: Path) -> None:
    assert callable(break_it)
    break_it(stack_folder)
    done = lint(stack_folder)
    assert done.exit_code == 2
    assert message in done.output


def test_a_folder_and_a_file_are_too_much(stack_folder: Path) -> None:
    assert lint(stack_folder, stack_folder / "docker-compose.yml").exit_code == 2


def test_without_a_configuration_it_says_so(stack_folder: Path) -> None:
    (stack_folder / "hotseat.yaml").unlink()
    done = lint(stack_folder)
    assert done.exit_code == 0
    assert "no hotseat.yaml to compare with" in done.output


def test_no_secret_of_the_file_is_printed(stack_folder: Path) -> None:
    replace(
        stack_folder / "docker-compose.yml",
        "    container_name: sitechat\n",
        "    container_name: sitechat\n    environment: {API_KEY: topsecretvalue}\n",
    )
    for words in ([stack_folder], [stack_folder, "--json"]):
        done = lint(*words)
        assert done.exit_code == 1
        assert "API_KEY" in done.output
        assert "topsecretvalue" not in done.output


def test_the_rules_are_printed() -> None:
    done = lint("--rules")
    assert done.exit_code == 0
    assert done.output == table()
