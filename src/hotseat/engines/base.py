"""The contract of an engine, a kind of inference server: its flags, its log lines and their meaning.

All methods are pure functions. Unknown is ``None`` or empty, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hotseat.core.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """The meaning of a failure line, in words that clients may see."""

    summary: str
    hint: str | None = None
    permanent: bool = False
    """Whether trying again cannot help."""
    oom: bool = False
    line: str = ""
    """The line that matched."""


LINES_SHOWN = 40
"""Last lines of a run that admins are shown."""


class Engine(Protocol):
    """A kind of server. A command is a list of words, as it is run or as a container is given it."""

    name: str

    def footprint_share(self, command: Sequence[str]) -> float | None:
        """Return the share of a GPU's memory that it takes, 0 < share ≤ 1; ``None``: the flags do not say."""

    def served_names(self, command: Sequence[str]) -> tuple[str, ...]:
        """Return the names by which the server knows its model, the preferred one first; empty: unknown."""

    def lora_names(self, command: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the LoRA adapters that it serves."""

    def max_num_seqs(self, command: Sequence[str]) -> int | None:
        """Return how many requests it processes at once; ``None``: the flags do not say."""

    def api_keys(self, command: Sequence[str], env: Mapping[str, str]) -> tuple[str, ...]:
        """Return the keys that the server itself asks for, by its flags or its variables; empty: none."""

    def phase(self, line: str) -> str | None:
        """Return the loading phase that begins with this log line; ``None``: none does."""

    def hint(self, lines: Iterable[str]) -> Hint | None:
        """Return why it failed, judged by its log lines; ``None``: unknown."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A known failure line. ``{0}`` in the hint's summary stands for the flags named in the match."""

    pattern: re.Pattern[str]
    hint: Hint


DOWNLOADING = "downloading"
"""The phase in which a server fetches its model's files."""
_DOWNLOAD_BAR = re.compile(
    r"^(?=.*\d%)(?:Fetching \d+ files|Downloading\b[^|]*|(?P<rate>[^|]*))\s*:?\s*\d+%\|(?(rate).*B/s\])"
)


def download_progress(line: str) -> str | None:
    """Return how far a line's progress bar of a download is, without its times; ``None``: it is none.

    Equal texts mean that nothing has arrived in between.
    """
    if _DOWNLOAD_BAR.match(line) is None:
        return None
    return line.partition("[")[0].strip()


def failure(
    pattern: str, summary: str, hint: str | None = None, *, permanent: bool = False, oom: bool = False
) -> Failure:
    """Return a row of a table of failures; the pattern is searched, ignoring case."""
    meaning = Hint(summary=summary, hint=hint, permanent=permanent, oom=oom)
    return Failure(re.compile(pattern, re.IGNORECASE), meaning)


PYTHON_FAILURES = (
    failure(
        r"unrecognized arguments: (.+)", "unknown flag {0}", "this version does not know it", permanent=True
    ),
    failure(r"error: argument (-\S+)", "bad value for the flag {0}", permanent=True),
    failure(r"ModuleNotFoundError: No module named", "a Python module is missing", permanent=True),
)
SYSTEM_FAILURES = (
    failure(r"No space left on device", "the disk is full", "free space in the cache folder"),
    failure(r"Address already in use", "its port is taken"),
    failure(r"\bMemoryError\b|Cannot allocate memory", "out of host memory", oom=True),
)


_PROCESS = re.compile(r"(?:\([\w.-]+(?: [\w=.-]+)*\)\s+)+")
"""``(EngineCore pid=12) (Worker_TP0 pid=13)``."""
_LEVEL = re.compile(
    r"\[?(?P<level>TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL|VERB)\]?\b:?\s*"
    r"(?:\d{2,4}-\d\d(?:-\d\d)?[ T]\d\d:\d\d:\d\d\S*\s+)?(?:\[[^\]]*\]:?\s*)?"
)
_DATED = re.compile(r"\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\S*\s+(?:[-|]\s+)?(?=\[?[A-Z]{4,8}\b)")
_SEVERE = frozenset({"ERROR", "CRITICAL", "FATAL"})
_REQUEST = re.compile(
    r"\b(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE)\b \S.* HTTP/\d"
    r"|log_server_r|request: [A-Z]+ /"
)
"""A line of an access log: what a client has sent."""
_LEAD_IN = re.compile(r"(?:[\w.]+(?:Error|Exception): )?Worker failed with error '")
_QUOTES = re.compile("['\"`]")
_EXCEPTION = re.compile(r"[A-Z]\w*(?:Error|Exception)\b")


def own_message(line: str) -> str | None:
    """Return what a line says, if a server wrote it as an error of its own.

    ``None``: it may be a client's text. Lines of an access log, and those below the level of errors, may
    repeat whatever clients have sent.
    """
    text = line[prefix.end() :] if (prefix := _PROCESS.match(line)) else line
    text = text.strip()
    if _REQUEST.search(text) or text.startswith("{"):
        return None
    text = _DATED.sub("", text, count=1)
    level = _LEVEL.match(text)
    if level is not None:
        if level["level"] not in _SEVERE:
            return None
        text = text[level.end() :]
    return _LEAD_IN.sub("", text, count=1)


def _told_by(row: Failure, message: str) -> re.Match[str] | None:
    """Return the match of a failure in a server's own message, where it is not quoted from elsewhere."""
    match = row.pattern.search(message)
    if match is None:
        return None
    before = message[: match.start()]
    if _EXCEPTION.match(match[0]):  # the name of an exception, where Python writes it
        return match if re.fullmatch(r"[\w.]*", before) else None
    return None if _QUOTES.search(before) else match


def first_match(failures: Iterable[Failure], lines: Iterable[str]) -> Hint | None:
    """Return the hint of the first row that any line matches; rows are sorted by how specific they are.

    Only errors in the servers' own form count: clients must not be able to write the cause of a death.
    """
    kept = [(line, message) for line in lines if (message := own_message(line))]
    for row in failures:
        for line, message in kept:
            if (match := _told_by(row, message)) is not None:
                named = _flags(match[1]) if match.re.groups else ""
                summary = row.hint.summary.replace("{0}", named).strip()
                return replace(row.hint, summary=summary, line=line)
    return None


def _flags(text: str) -> str:
    """Return the flags among some words, without their values, which may be secrets."""
    words = (word.partition("=")[0].rstrip(":,") for word in text.split())
    return " ".join(word for word in words if re.fullmatch(r"--?[A-Za-z][\w.-]*", word))


def explained(reason: Reason, engine: Engine, lines: Iterable[str] | None = None) -> Reason:
    """Return the reason, completed by the cause found in its lines (or these), with the lines to show."""
    found = engine.hint(reason.lines if lines is None else lines)
    if len(reason.lines) > LINES_SHOWN:
        reason = replace(reason, lines=_shown(reason.lines, found.line if found else ""))
    if found is None:
        return reason
    return replace(
        reason,
        summary=found.summary,
        hint=found.hint,
        explained=True,
        permanent=reason.permanent or found.permanent,
        oom=reason.oom or found.oom,
    )


def _shown(lines: Sequence[str], telling: str) -> tuple[str, ...]:
    """Return the last lines, preceded by the one that tells the cause where that is further up."""
    last = tuple(lines[-LINES_SHOWN:])
    return last if not telling or telling in last else (telling, *last[1:])
