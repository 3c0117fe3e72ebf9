"""Merging a configuration into a file that is there: nothing of the owner's is lost."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml

from hotseat.clients.writing import CannotMerge, merged, write

CODEX = 'model = "chat"\nmodel_provider = "hotseat"\n\n[model_providers.hotseat]\nname = "hotseat"\n'


@pytest.mark.parametrize(
    "before",
    [
        'approval_policy = "never"  # mine\nmodel = "gpt"\n\n[tui]\nx = 1\n',
        '[model_providers.hotseat]\nname = "old"\nbase_url = "x"\n\n[model_providers.other]\nname = "o"\n',
        "[[rules]]\na = 1\n[[rules]]\na = 2\n",
        "",
    ],
)
def test_toml_keeps_every_other_key_table_and_comment(before: str) -> None:
    text = merged(before, CODEX, "toml")
    old, new = tomllib.loads(before), tomllib.loads(text)
    assert (new["model"], new["model_provider"]) == ("chat", "hotseat")
    assert new["model_providers"]["hotseat"] == {"name": "hotseat"}
    for key in old.keys() - {"model", "model_providers"}:
        assert new[key] == old[key]
    assert ("# mine" in text) == ("# mine" in before)
    assert merged(text, CODEX, "toml") == text


@pytest.mark.parametrize(
    "before", ["model = '''\na\n'''\n", 'model_providers = {hotseat = {name = "x"}}\n', "x ="]
)
def test_toml_that_cannot_be_changed_by_lines_is_refused(before: str) -> None:
    with pytest.raises(CannotMerge):
        merged(before, CODEX, "toml")


def test_lists_are_merged_by_name() -> None:
    before = yaml.safe_dump({"models": [{"name": "mine", "a": 1}, {"name": "chat", "old": True}]})
    data = yaml.safe_load(
        merged(before, yaml.safe_dump({"models": [{"name": "chat"}, {"name": "new"}]}), "yaml")
    )
    assert data["models"] == [{"name": "mine", "a": 1}, {"name": "chat"}, {"name": "new"}]
    llm = yaml.safe_dump([{"model_id": "mine"}])
    assert yaml.safe_load(merged(llm, yaml.safe_dump([{"model_id": "chat"}]), "yaml")) == [
        {"model_id": "mine"},
        {"model_id": "chat"},
    ]


@pytest.mark.parametrize(
    ("before", "merge"), [("[1]", "json"), ("{bad", "json"), ("a: [", "yaml"), ("- 1", "yaml")]
)
def test_what_is_something_else_is_refused(before: str, merge: str) -> None:
    with pytest.raises(CannotMerge):
        merged(before, '{"a": 1}', merge)  # type: ignore[arg-type]


def test_new_files_are_their_owners_alone_and_links_stay_links(tmp_path: Path) -> None:
    file, link = tmp_path / "dotfiles.json", tmp_path / "settings.json"
    write(file, '{"a": 1}', "json")
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    link.symlink_to(file)
    written = write(link, '{"b": 2}', "json")
    assert link.is_symlink()
    assert json.loads(file.read_text()) == {"a": 1, "b": 2}
    assert file.stat().st_mode & 0o777 == 0o640
    assert written.backup is not None
    assert json.loads(written.backup.read_text()) == {"a": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dotfiles.json",
        "settings.json",
        "settings.json.bak",
    ]
