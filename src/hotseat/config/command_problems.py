"""Finds what is wrong with a command that is not one program, and says what to write instead.

Such as a shell's syntax, a client of something that outlives it, a program that detaches.

hotseat runs one program, without a shell, and ends it with its descendants. Such commands would start
something else, or something that cannot be ended.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hotseat.engines.flags import script_of

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_OPERATORS = frozenset({"&&", "||", "|", "|&", ";", "&", "<", "<<", "<<<", "(", ")", "{", "}"})
_REDIRECTION = re.compile(r"(?:\d|&)?>{1,2}(?:&\d|&-|\||$|[\w./~$-].*)")
_VARIABLE = re.compile(r"(?:--?[\w-]+=)?\$([A-Za-z_]\w*)(?:/.*)?")
_CONTAINER_CLIENTS = frozenset(
    {"docker", "podman", "nerdctl", "docker-compose", "podman-compose", "finch", "ctr"}
)
_BUILTINS = frozenset(
    {".", "source", "cd", "export", "set", "unset", "ulimit", "umask", "exec", "eval", "alias", "pushd"}
    | {"if", "for", "while", "trap", "shopt", "module", "workon"}
)
_OTHER_USERS = frozenset({"sudo", "su", "doas", "runuser", "pkexec", "sudo-rs"})
_DETACHERS = frozenset(
    {"screen", "tmux", "daemonize", "start-stop-daemon", "setsid", "at", "batch", "pm2", "byobu"}
)
_WRAPPERS = frozenset(
    {"env", "nice", "ionice", "nohup", "stdbuf", "numactl", "taskset", "chrt", "time", "timeout", "unbuffer"}
    | {"exec", "command", "prlimit"}
)
_WRAPPER_VALUE = re.compile(r"[\d,.:x-]+[smhd]?|[0-9a-fA-FxX,-]+|[oLTFei0]")
_ONE_SHELL = 'or have a shell run it: [bash, -c, "…"] with exec before the server'


@dataclass(frozen=True, slots=True)
class CommandProblem:
    """The fault of a command, and what to write instead."""

    message: str
    fix: str


def problem_of(command: Sequence[str]) -> CommandProblem | None:
    """Return the first problem of a command; ``None``: it is one program."""
    script = script_of(command)
    if script is not None:
        return _problem_of_script(script)
    return (
        _assignment(command)
        or _program(command, in_shell=False)
        or next((found for word in command if (found := _shell_word(word)) is not None), None)
    )


def assignments(command: Sequence[str]) -> dict[str, str]:
    """Return the variables that a command itself sets: with ``env``, or in the script of a shell."""
    script = script_of(command)
    found: dict[str, str] = {}
    for words in [list(command)] if script is None else _commands(script):
        setter = bool(words) and (words[0] == "export" or _base(words[0]) == "env")
        for word in words[1:] if setter else words:
            match = _ASSIGNMENT.fullmatch(word)
            if match is not None:
                found[match[1]] = match[2]
            elif not (setter and word.startswith("-")):
                break
    return found


def _base(word: str) -> str:
    return os.path.basename(word)


def _assignment(words: Sequence[str]) -> CommandProblem | None:
    match = _ASSIGNMENT.fullmatch(words[0])
    if match is None:
        return None
    return CommandProblem(
        f"begins with {match[1]}=…, which only a shell understands",
        f"move it to env: {{{match[1]}: …}} below the model, and begin the command with the program",
    )


def _problem_of_script(script: str) -> CommandProblem | None:
    commands = list(_commands(script))
    for words in commands:
        while words and _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        if words and (found := _program(words, in_shell=True)) is not None:
            return found
    if _ends_in_background(script):
        return CommandProblem(
            "leaves its program in the background: the shell ends, and hotseat ends what it leaves behind",
            "remove the & at its end, and write exec before the server",
        )
    return None


def _program(words: Sequence[str], *, in_shell: bool) -> CommandProblem | None:
    rest = words if _base(words[0]) == "exec" and not in_shell else _without_wrappers(words)
    first, arguments = _base(rest[0]), list(rest[1:])
    if first in _CONTAINER_CLIENTS:
        return CommandProblem(
            f"runs {first}, a client: the container would outlive it, and the next start would fail",
            "write container: NAME (and compose: FILE) instead of command; hotseat starts and stops "
            "containers itself",
        )
    if first in _OTHER_USERS:
        return CommandProblem(
            f"runs the server with {first} as another user, whose processes hotseat cannot end",
            f"run hotseat as that user, and remove {first}",
        )
    if first == "systemd-run" and "--scope" not in arguments:
        return CommandProblem(
            "has systemd run the server, outside of hotseat's processes, where it is not ended",
            "remove systemd-run, or add --scope",
        )
    if first in _DETACHERS and not (first == "setsid" and {"-w", "--wait"} & set(arguments)):
        return CommandProblem(
            f"detaches the server with {first}, so that hotseat loses sight of it",
            f"remove {first}: hotseat runs the server in the background itself",
        )
    live = {"--no-capture-output", "--live-stream", "-s"} & set(arguments)
    if first in ("conda", "mamba", "micromamba") and arguments[:1] == ["run"] and not live:
        if first == "micromamba":
            return None
        return CommandProblem(
            f"runs the server with {first} run, which keeps its output to itself until it ends",
            f"name the program in its environment (…/envs/NAME/bin/PROGRAM), or write {first} run "
            "--no-capture-output",
        )
    if first in ("conda", "mamba", "micromamba") and arguments[:1] == ["activate"] and not in_shell:
        return CommandProblem(
            f"begins with {first} activate, which only a shell understands",
            "name the program in its environment: …/envs/NAME/bin/PROGRAM",
        )
    if first in _BUILTINS and not in_shell:
        return CommandProblem(
            f"begins with {first}, which is not a program but a command of the shell",
            _instead_of(first, arguments),
        )
    return None


def _instead_of(builtin: str, arguments: Sequence[str]) -> str:
    if builtin in (".", "source"):
        where = os.path.dirname(arguments[0]) if arguments else ""
        return f"name the program in its environment: {where or '…/bin'}/PROGRAM; {_ONE_SHELL}"
    if builtin in ("cd", "pushd"):
        return f"write cwd: {arguments[0] if arguments else 'FOLDER'} below the model; {_ONE_SHELL}"
    if builtin == "export":
        return f"move the variables to env below the model; {_ONE_SHELL}"
    if builtin == "exec":
        return "remove exec"
    return f"name the program itself; {_ONE_SHELL}"


def _without_wrappers(words: Sequence[str]) -> Sequence[str]:
    """Return the words from the program on that ``env``, ``nice`` and the like run."""
    rest = list(words)
    while rest and _base(rest[0]) in _WRAPPERS:
        following = rest[1:]
        while following and (
            following[0].startswith("-")
            or _ASSIGNMENT.fullmatch(following[0])
            or _WRAPPER_VALUE.fullmatch(following[0])
        ):
            following = following[1:]
        if not following:
            return rest
        rest = following
    return rest


def _shell_word(word: str) -> CommandProblem | None:
    """Return the problem of a word that only a shell would understand."""
    if word in _OPERATORS or (word.endswith(";") and len(word) > 1 and word[:-1].replace("/", "").isalnum()):
        return CommandProblem(
            f"contains {word}, which only a shell understands; no shell runs it",
            f"name one program with its arguments; {_ONE_SHELL}",
        )
    if _REDIRECTION.fullmatch(word):
        return CommandProblem(
            f"redirects its output with {word}, which only a shell understands",
            "remove it: hotseat keeps the output (hotseat logs NAME)",
        )
    if word == "~" or word.startswith("~/"):
        return CommandProblem(
            f"contains {word}, and no shell replaces ~ by the home folder", f"write ${{HOME}}{word[1:]}"
        )
    if (match := _VARIABLE.fullmatch(word)) is not None:
        return CommandProblem(
            f"contains ${match[1]}, and no shell replaces it", f"write ${{{match[1]}}}, with braces"
        )
    if word.startswith(("$(", "`")) or "=$(" in word:
        return CommandProblem(
            "contains a command substitution, which only a shell understands",
            f"write its result; {_ONE_SHELL}",
        )
    return None


def _tokens(script: str) -> list[str]:
    lexer = shlex.shlex(script.replace("\n", " ; "), posix=True, punctuation_chars=True)
    lexer.commenters = ""
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:  # unfinished quotes: the shell will say so
        return []


def _commands(script: str) -> Iterator[list[str]]:
    """Yield the simple commands of a script, each as its words."""
    words: list[str] = []
    for token in _tokens(script):
        if token and set(token) <= set("();<>|&"):
            if words:
                yield words
            words = []
        else:
            words.append(token)
    if words:
        yield words


def _ends_in_background(script: str) -> bool:
    tokens = _tokens(script)
    while tokens and set(tokens[-1]) <= {";"}:
        tokens = tokens[:-1]
    return bool(tokens) and tokens[-1] == "&"
