"""The log: its two forms, and that no secret gets into either."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from hotseat import logs


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """A stream; whatever a test has set up is undone."""
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    yield io.StringIO()
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    logging.captureWarnings(False)
    structlog.reset_defaults()
    logs.forget()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_lines_where_nobody_looks(out: io.StringIO) -> None:
    logs.setup(stream=out)
    logs.get(model="chat").info("ready", spin_up_s=3.25)
    logs.get().debug("not shown")
    (line,) = lines(out)
    assert list(line)[:3] == ["time", "level", "event"]
    assert line["time"].endswith("Z")
    assert {key: line[key] for key in ("level", "event", "model", "spin_up_s")} == {
        "level": "info",
        "event": "ready",
        "model": "chat",
        "spin_up_s": 3.25,
    }


def test_people_get_lines_without_colours_unless_on_a_terminal(out: io.StringIO) -> None:
    logs.setup(form="human", stream=out)
    logs.get().warning("stopped", model="chat", why="idle")
    text = out.getvalue()
    assert "stopped" in text
    assert "model=chat" in text
    assert "\x1b" not in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("out")
def test_a_terminal_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    logs.setup(stream=terminal)
    logs.get().info("ready")
    assert "\x1b" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    logs.setup(stream=plain)
    logs.get().info("ready")
    assert "\x1b" not in plain.getvalue()
    assert not plain.getvalue().startswith("{")


def test_the_standard_library_takes_the_same_way(out: io.StringIO) -> None:
    logs.setup(stream=out, level="warning")
    logging.getLogger("uvicorn.error").warning("slow %s", "client")
    logging.getLogger("uvicorn.error").info("not shown")
    (line,) = lines(out)
    assert (line["event"], line["logger"], line["level"]) == ("slow client", "uvicorn.error", "warning")


@pytest.mark.parametrize("form", ["json", "human"])
@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Authorization",
        "X-Api-Key",
        "cookie",
        "Set-Cookie",
        "key",
        "upstream_key",
        "HF_TOKEN",
        "secret",
    ],
)
def test_fields_with_a_secrets_name_are_hidden(out: io.StringIO, form: logs.Form, name: str) -> None:
    logs.setup(form=form, stream=out)
    logs.get().info("x", **{name: "hush-hush"}, headers={"a": {name: "hush-hush"}}, key_name="site")
    assert "hush" not in out.getvalue()
    assert "***" in out.getvalue()
    assert "site" in out.getvalue()


@pytest.mark.parametrize("form", ["json", "human"])
@pytest.mark.parametrize(
    "secret", ["s3cret-value", 'q"uo\\te', "ümläut-key", 'bö"th-key', "new\nline-key", "a.*b(c"]
)
def test_registered_secrets_are_hidden_wherever_they_are(
    out: io.StringIO, form: logs.Form, secret: str
) -> None:
    logs.setup(form=form, stream=out)
    logs.hide(secret)
    log = logs.get()
    log.info(f"event {secret}", value=f"x{secret}y", listed=[secret], obj=RuntimeError(secret))
    logging.getLogger("lib").error("said %r", secret)
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("failed")
        logging.getLogger("lib").exception("failed too")
    text = out.getvalue()
    assert text.count("***") >= 6
    for looks in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        assert looks not in text
    assert "Traceback" in text


def test_credentials_are_hidden_by_their_looks(out: io.StringIO) -> None:
    logs.setup(stream=out)
    log = logs.get()
    log.info("Authorization: Bearer abc.def-123 and Basic dXNlcjpwYXNz")
    log.info("GET /v1/models?api_key=abcdef&x=1&token=ghijkl")
    log.info("a basic question about a bearer")
    first, second, third = lines(out)
    assert first["event"] == "Authorization: Bearer *** and Basic ***"
    assert second["event"] == "GET /v1/models?api_key=***&x=1&token=***"
    assert third["event"] == "a basic question about a bearer" or "***" in third["event"]


def test_short_texts_are_no_secrets(out: io.StringIO) -> None:
    logs.setup(stream=out)
    logs.hide("", "a", "abc")
    logs.get().info("abc a")
    assert lines(out)[0]["event"] == "abc a"


def test_redact_is_there_for_other_texts() -> None:
    logs.hide("value-of-a-key")
    assert logs.redact("x value-of-a-key y") == "x *** y"
    logs.forget()
    assert logs.redact("x value-of-a-key y") == "x value-of-a-key y"


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise OSError


@pytest.mark.usefixtures("out")
def test_a_log_that_cannot_be_written_harms_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup(stream=Broken())
    logs.get().info("x")
    logging.getLogger("lib").error("y")
    assert capsys.readouterr().err == ""


def test_odd_values_do_not_break_the_line(out: io.StringIO) -> None:
    logs.setup(stream=out)
    logs.get().info(
        "x", value=object(), data=b"\xff", number=float("nan"), keys={1: 2, (3, 4): 5}, bad="\ud800"
    )
    assert len(out.getvalue().splitlines()) == 1
