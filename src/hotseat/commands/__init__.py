"""The commands, one module each (``check-config`` is ``check_config``), with a ``command`` in it."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from enum import IntEnum

COMMANDS: Mapping[str, str] = {
    "serve": "Run the launcher.",
    "check-config": "Say whether a configuration is right, or all that is wrong with it.",
    "status": "Show the models of the running launcher.",
    "start": "Start a model now.",
    "stop": "Stop a model now.",
    "reload": "Have the running launcher read its configuration again.",
    "logs": "Print the last lines that a model's server wrote.",
    "capture": "Write a model's prompts and answers to a file, for a while.",
    "top": "Watch the running launcher, live.",
    "check": "Ask models, and fail if they do not answer in time.",
    "clients": "Print a ready configuration for a program that talks to hotseat.",
    "seed": "Download models before they are asked for.",
    "bench": "Measure starts and throughput of models, and judge the results.",
    "switch": "Stop the other models and start one.",
    "simulate": "Compare ways to take turns, over made-up or recorded traffic.",
    "lint": "Check the Compose files of a stack.",
    "doctor": "Say what is wrong on this machine, and what to type.",
    "export": "Write the manifests of a Kubernetes cluster from the same configuration.",
    "init": "Write the stack's .env with fresh keys.",
    "rotate-key": "Replace the clients' key; the old one stays valid for a while.",
    "install-service": "Install the systemd unit of the stack.",
}
"""Every command and its one-line help, known without importing it."""


class ExitCode(IntEnum):
    """Exit statuses of all commands."""

    OK = 0
    FAILED = 1
    USAGE = 2
    """Wrong usage, or a configuration that is not right."""
    UNREACHABLE = 3
    """No launcher answers at that address."""
    INTERRUPTED = 128 + signal.SIGINT
    """Ctrl-C, where that is no ordinary end."""
