"""``.env`` files are read as Compose reads them: held against Compose, over written and generated files."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from fakes.compose_binary import compose_binary
from hotseat import config
from hotseat.envfile import disk
from hotseat.envfile.syntax import EnvFileError, assign, parse

NAMES = ("VLLM_API_KEY", "B", "C_D", "E.F", "G-H", "SET", "i1")
CONFIG = "models: {chat: {command: 'vllm serve x --port {port}'}}\n"
ENV = {"SET": "from outside"}

WRITTEN = {
    "hash without a space": "VLLM_API_KEY=#s3cret\n",
    "hash after the sign and a space": "VLLM_API_KEY= #s3cret\n",
    "hash after a tab": "B=x\t#y\n",
    "comment": "B=x #y\n",
    "comment after quotes": "B='x' #y\nC_D=\"x\"#y\n",
    "colon": "VLLM_API_KEY: sk-1\nB:x\n",
    "spaces around the sign": "VLLM_API_KEY = sk-1\n",
    "empty": "B=\nC_D=''\nE.F=\"\"\n",
    "escapes in double quotes": r'B="a\nb\t\"c\" \\ \$SET \a\x41 \0101 \07 \c"' + "\n",
    "escapes in single quotes": r"B='a\nb \'c\' \\ $SET'" + "\n",
    "escapes without quotes": r"B=a\nb\"c \$SET" + "\n",
    "several lines": "B=\"one\ntwo $SET\"\nC_D='one\n#two'\n",
    "two on one line": 'B="x" C_D=y\n',
    "text behind the quote": 'B="x" SET\n',
    "export": "export B=x\nexport\tC_D=y\nexportG=z\n",
    "a name alone": "SET\nB\nC_D=x\n",
    "a name alone at the end": "B=x\nSET",
    "defaults": "B=${NO:-a}${NO-b}${SET:+c}${NO+d}${NO:-${SET}}|$NO|\nC_D=${B}x\n",
    "dollars": "B=$$SET $ $1 ${SET}\nC_D='$SET'\nE.F=\"$$SET\"\n",
    "required": "B=${NO:?say why}\n",
    "not closed": "B=${SET\n",
    "open quote": "B='x\nC_D=y\n",
    "not an assignment": "B=x\nnot a line\n",
    "bad name": "B!=x\n",
    "byte order mark": "\ufeffB=x\n",
    "windows": "B=x\r\nC_D='y\r\nz'\r\nSET\r\nE.F=\r\n",
    "old mac": "B=x\rC_D=y\r",
    "line separators of Unicode": "B=a\u2028C_D=b\u2029\n\u2028C_D=c\x85\n",
    "other control characters": "B=a\x0bb\x0c\x1cc\x1d\n",
    "no-break space": "\xa0B\xa0=\xa0x\xa0\n",
    "last line without an end": "B=x",
    "later lines win": "B=1\nB=2\nC_D=$B\n",
    "outside wins": "SET=inside\nB=$SET\n",
    "brackets": "B[0]=x\nC_D=y\n",
}
BYTES = {
    "latin-1 in a value": b"B=caf\xe9\nC_D='\xe9'\n",
    "latin-1 in a name": b"B\xe9=x\n",
    "latin-1 in a comment": b"# caf\xe9\nB=x\n",
    "nul in a value": b"B=a\0b\n",
    "nul in a name": b"B\0=x\n",
    "utf-16": "B=x\n".encode("utf-16"),
}
FRAGMENTS = (
    *("a", "b", " ", "#", " #x", "'", '"'),
    *("\\", "\\n", "\\\\", '\\"', "\\'", "\\$", "$", "$$", "=", ":", "\t", "\r"),
    *("${B}", "$C_D", "${C_D:-d}", "${NO:-d}"),
    *("${NO-}", "${SET:+w}", "${B:?m}", "${NO:?m}", "${", "}", "$1", "$-"),
    *("\u2028", "\xa0", "\x85", "\x0b", "é"),
    *("\\t", "\\101", "\\0101", "\\0", "\\07", "\\c", "${B:-${C_D}x}", "\x1c"),
)  # fmt: skip


def theirs(content: bytes, folder: Path) -> dict[str, str] | None:
    """What Compose makes of a file; ``None``: it refuses it."""
    (folder / ".env").write_bytes(content)
    service = {"image": "x", "environment": dict.fromkeys(NAMES)}
    (folder / "compose.yaml").write_text(json.dumps({"services": {"x": service}}), encoding="utf-8")
    done = subprocess.run(
        [compose_binary(), "config", "--format", "json"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **ENV},
        capture_output=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        return None
    environment: Mapping[str, str | None] = json.loads(done.stdout)["services"]["x"]["environment"]
    # Compose prints a dollar sign doubled, as its files want it.
    return {name: value.replace("$$", "$") for name, value in environment.items() if value is not None}


def ours(folder: Path) -> dict[str, str] | None:
    try:
        read = {**disk.read(folder / ".env", ENV), **ENV}
    except EnvFileError:
        return None
    # JSON cannot hold a byte that is not UTF-8: Compose prints U+FFFD for it.
    return {
        name: value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        for name, value in read.items()
        if name in NAMES
    }


@pytest.mark.parametrize("name", [*WRITTEN, *BYTES])
def test_compose_reads_the_same_file_the_same(name: str, tmp_path: Path) -> None:
    content = BYTES[name] if name in BYTES else WRITTEN[name].encode()
    expected = theirs(content, tmp_path)
    assert ours(tmp_path) == expected


def _value(dice: random.Random) -> str:
    return "".join(dice.choices(FRAGMENTS, k=dice.randint(0, 5)))


def _line(dice: random.Random) -> str:
    name = dice.choice(("", "", "", " ", "\t", "export ", "export\t", "\u2028", "\xa0")) + dice.choice(NAMES)
    sign = dice.choice(("=", "=", "=", "= ", " = ", ": ", ":", "\t=\t"))
    quote = dice.choice(("", "", "", "'", '"'))
    behind = dice.choice(("", "", " # c", "#c", " x", "B=3")) if quote else ""
    return dice.choice(
        (
            *(f"{name}{sign}{quote}{_value(dice)}{quote}{behind}" for _ in range(8)),
            f"{name}{sign}{dice.choice(('#s3cret', ' #s3cret', 'a#b', 'a #b'))}",
            f'{name}="two\nlines {_value(dice)}"',
            f"# {_value(dice)}",
            name,
            "",
        )
    )


@pytest.mark.parametrize("seed", range(8))
def test_compose_reads_generated_files_the_same(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    read = 0
    for _ in range(15):
        text = dice.choice(("\n", "\n", "\r\n")).join(_line(dice) for _ in range(dice.randint(1, 4)))
        content = (text + dice.choice(("\n", ""))).encode()
        expected = theirs(content, tmp_path)
        assert ours(tmp_path) == expected, content
        read += expected is not None
    assert read >= 5, "hardly any of the files was valid"


def test_a_last_line_that_is_no_assignment_is_told() -> None:
    """Compose ignores it in silence where the line end is missing, and refuses it where it is not."""
    with pytest.raises(EnvFileError, match="line 2"):
        parse("B=x\nno assignment", {})


@pytest.mark.parametrize("line", ["VLLM_API_KEY=#s3cret", "VLLM_API_KEY= #s3cret", "VLLM_API_KEY: '#s3cret'"])
def test_a_key_that_begins_with_a_hash_is_a_key(line: str, tmp_path: Path) -> None:
    (tmp_path / "hotseat.yaml").write_text(
        "models: {chat: {command: 'vllm serve x --port {port}'}}\n", encoding="utf-8"
    )
    (tmp_path / ".env").write_text(line + "\n", encoding="utf-8")
    settings = config.load(tmp_path / "hotseat.yaml", {"HOTSEAT_ENV_FILE": str(tmp_path / ".env")})
    assert not settings.serve.open
    assert [key.name for key in settings.auth.keys] == ["VLLM_API_KEY"]


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(tmp_path: Path) -> None:
    (tmp_path / "hotseat.yaml").write_text(
        "models: {chat: {command: 'vllm serve x --port {port}'}}\n", encoding="utf-8"
    )
    (tmp_path / ".env").write_bytes(b"VLLM_API_KEY=s\xe9cret\n")
    with pytest.raises(config.ConfigError, match="printable ASCII") as caught:
        config.load(tmp_path / "hotseat.yaml", {"HOTSEAT_ENV_FILE": str(tmp_path / ".env")})
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("name", [*WRITTEN, *BYTES])
def test_a_changed_file_keeps_what_compose_reads_of_the_rest(name: str) -> None:
    content = BYTES[name] if name in BYTES else WRITTEN[name].encode()
    text = content.decode("utf-8", "surrogateescape")
    text += "" if text.endswith("\n") else "\n"
    try:
        before = parse(text, {"SET": "x"})
    except EnvFileError:
        return
    after = parse(assign(text, {"VLLM_API_KEY": "sk-new", "NEW": "1"}), {"SET": "x"})
    assert after == {**before, "VLLM_API_KEY": "sk-new", "NEW": "1"}
