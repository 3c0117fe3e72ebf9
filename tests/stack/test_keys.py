"""``hotseat init`` and ``hotseat rotate-key``: fresh keys, written safely, the old one kept for a while."""

from __future__ import annotations

import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hotseat.cli import main
from hotseat.envfile.syntax import parse
from hotseat.stack import keys
from hotseat.stack.env_template import KEYS, example

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 23, 19, 0, tzinfo=UTC)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_init_writes_fresh_keys_for_its_owner_alone(tmp_path: Path) -> None:
    done = run("init", "--stack", str(tmp_path))
    assert done.exit_code == 0, done.output
    path = tmp_path / ".env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    values = parse(path.read_text(encoding="utf-8"), {})
    assert {len(values[name]) for name in KEYS} == {64}
    assert all(re.fullmatch("[0-9a-f]+", values[name]) for name in KEYS)
    assert len({values[name] for name in KEYS}) == 3
    assert values["COMPOSE_PROJECT_NAME"] == "llm"
    assert (values["START_TIMEOUT_SECONDS"], values["IDLE_SECONDS"]) == ("300", "1800")
    assert not any(values[name] in done.output for name in KEYS)
    age = keys.age(values, datetime.now(UTC))
    assert age is not None
    assert timedelta(0) <= age < timedelta(minutes=5)


def test_init_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINE=1\n", encoding="utf-8")
    done = run("init", "--stack", str(tmp_path))
    assert done.exit_code == 1
    assert "never overwritten" in done.output
    assert (tmp_path / ".env").read_text(encoding="utf-8") == "MINE=1\n"


def test_two_stacks_get_different_keys(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert run("init", "--stack", str(tmp_path / name)).exit_code == 0
        found.append(parse((tmp_path / name / ".env").read_text(encoding="utf-8"), {})["VLLM_API_KEY"])
    assert found[0] != found[1]


def test_the_example_is_current_and_holds_no_key() -> None:
    text = (ROOT / "deploy" / "compose" / ".env.example").read_text(encoding="utf-8")
    assert text == example()
    values = parse(text, {})
    assert {values[name] for name in KEYS} == {""}


def test_the_examples_images_are_those_of_the_compose_files() -> None:
    folder = ROOT / "deploy" / "compose"
    files = "".join(
        (folder / f).read_text(encoding="utf-8") for f in ("docker-compose.yml", "docker-compose.public.yml")
    )
    pinned = dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", files))
    named = dict(re.findall(r"^#(\w+_IMAGE)=(\S+)$", example(), re.MULTILINE))
    assert pinned == named
    assert len(pinned) == 4


def test_a_rotation_keeps_the_old_key_for_its_grace_and_the_containers_key() -> None:
    text = "# mine\nVLLM_API_KEY=old1\nUPSTREAM_API_KEY=containers\nOTHER=x\n"
    rotation = keys.rotate(text, NOW, timedelta(hours=24))
    values = parse(rotation.text, {})
    assert values["VLLM_API_KEY"] == rotation.key
    assert re.fullmatch("[0-9a-f]{64}", rotation.key)
    assert values["VLLM_API_KEY_SINCE"] == "2026-11-23T19:00:00Z"
    assert values["VLLM_API_KEY_OLD"] == "old1"
    assert values["VLLM_API_KEY_OLD_UNTIL"] == "2026-11-24T19:00:00Z"
    assert values["UPSTREAM_API_KEY"] == "containers"
    assert values["OTHER"] == "x"
    assert rotation.text.startswith("# mine\n")
    assert not rotation.kept_upstream


def test_containers_without_a_key_of_their_own_keep_the_old_one() -> None:
    rotation = keys.rotate("VLLM_API_KEY=old1\nUPSTREAM_API_KEY=\n", NOW, timedelta(0))
    values = parse(rotation.text, {})
    assert values["UPSTREAM_API_KEY"] == "old1"
    assert rotation.kept_upstream
    assert "VLLM_API_KEY_OLD" not in values
    assert "VLLM_API_KEY_OLD_UNTIL" not in values


def test_a_second_rotation_ends_the_key_before_the_last() -> None:
    once = keys.rotate("VLLM_API_KEY=first\nUPSTREAM_API_KEY=up\n", NOW, timedelta(hours=24))
    twice = keys.rotate(once.text, NOW + timedelta(hours=1), timedelta(hours=24))
    values = parse(twice.text, {})
    assert values["VLLM_API_KEY_OLD"] == once.key
    assert "first" not in twice.text


def test_rotate_key_says_until_when_and_shows_no_key(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("VLLM_API_KEY=oldsecret\n", encoding="utf-8")
    path.chmod(0o644)
    done = run("rotate-key", "--stack", str(tmp_path), "--grace", "7d")
    assert done.exit_code == 0, done.output
    values = parse(path.read_text(encoding="utf-8"), {})
    until = keys.moment(values["VLLM_API_KEY_OLD_UNTIL"])
    assert until is not None
    assert f"{until:%Y-%m-%d %H:%M} UTC" in done.output
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "oldsecret" not in done.output
    assert values["VLLM_API_KEY"] not in done.output


@pytest.mark.parametrize(
    ("text", "words", "status", "message"),
    [
        (None, [], 1, "run hotseat init"),
        ("OTHER=1\n", [], 1, "no VLLM_API_KEY to rotate"),
        ("VLLM_API_KEY=a\nbroken line\n", [], 1, "line 2"),
        ("VLLM_API_KEY='two words'\n", [], 1, "by hand"),
        ("VLLM_API_KEY=a\n", ["--grace", "soon"], 2, "--grace: expected a duration"),
    ],
)
def test_what_cannot_be_rotated_is_left_alone(
    text: str | None, words: list[str], status: int, message: str, tmp_path: Path
) -> None:
    path = tmp_path / ".env"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    done = run("rotate-key", "--stack", str(tmp_path), *words)
    assert done.exit_code == status, done.output
    assert message in done.output
    assert "two words" not in done.output
    if text is not None:
        assert path.read_text(encoding="utf-8") == text
