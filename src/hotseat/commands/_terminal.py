"""Output that a terminal can show: characters that its encoding lacks are replaced, colours are optional."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Mapping

import click

_ERRORS = "hotseat-terminal"
_ASCII = "hotseat_ascii"
_INSTEAD = {"→": "->", "…": "...", "█": "#", "░": ".", "│": "|", "—": "-", "–": "-", "’": "'", "≤": "<="}
_COLOURS = {
    "ok": "green",
    "ready": "green",
    "warning": "yellow",
    "starting": "yellow",
    "downloading": "yellow",
    "waking": "yellow",
    "draining": "yellow",
    "stopping": "yellow",
    "suspending": "yellow",
    "error": "red",
    "ERROR": "red",
    "FAILED": "red",
    "backoff": "red",
    "asleep": "cyan",
}


def prepare(env: Mapping[str, str]) -> None:
    """Make standard output and standard error able to write every text."""
    codecs.register_error(_ERRORS, _replace)
    codecs.register(_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            plain = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(errors=_ERRORS, encoding=_ASCII if plain else None)
    context = click.get_current_context(silent=True)
    if context is not None and not wants_colour(env):
        context.color = False


def wants_colour(env: Mapping[str, str]) -> bool:
    """Return whether the environment allows colours (``NO_COLOR`` with any value forbids them)."""
    return not env.get("NO_COLOR") and env.get("TERM") != "dumb"


def coloured(text: str, word: str) -> str:
    """Return the text in the colour of a state or severity; ``click.echo`` removes it where it is no use."""
    colour = _COLOURS.get(word)
    return click.style(text, fg=colour) if colour else text


def _ascii(name: str) -> codecs.CodecInfo | None:
    """ASCII under another name: click takes "ascii" for a mistake, and would write UTF-8."""
    if name != _ASCII:
        return None
    ascii_codec = codecs.lookup("ascii")
    return codecs.CodecInfo(
        name=_ASCII,
        encode=ascii_codec.encode,
        decode=ascii_codec.decode,
        incrementalencoder=ascii_codec.incrementalencoder,
        incrementaldecoder=ascii_codec.incrementaldecoder,
    )


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_INSTEAD.get(letter, "?") for letter in error.object[error.start : error.end]), error.end
