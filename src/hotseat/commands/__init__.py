"""The commands, one module each (``check-config`` is ``check_config``), each with a ``command``."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from enum import IntEnum

COMMANDS: Mapping[str, str] = {
    "serve": "Run the launcher.",
    "check-config": "Check a configuration and list all its problems.",
    "status": "Show the models of the running launcher.",
    "start": "Start a model now.",
    "stop": "Stop a model now.",
    "reload": "Make the running launcher read its configuration again.",
    "logs": "Print the latest log lines of a model's server.",
    "capture": "Record a model's prompts and answers in a file for a limited time.",
    "top": "Watch the running launcher live.",
    "check": "Check that models answer in time.",
    "clients": "Print a ready configuration for a program that uses hotseat.",
    "mcp": "Serve tools for a coding agent (MCP).",
    "seed": "Download models ahead of their first start.",
    "bench": "Measure start times and throughput, and check for regressions.",
    "switch": "Stop the other models and start one.",
    "simulate": "Compare scheduling policies on generated or recorded traffic.",
    "lint": "Find mistakes in the Compose files of a stack.",
    "doctor": "Check this machine and the stack, and say how to fix problems.",
    "export": "Write Kubernetes manifests from the same configuration.",
    "init": "Write the stack's .env with fresh keys.",
    "rotate-key": "Replace the clients' key; the old one stays valid for a while.",
    "install-service": "Install a systemd unit for the stack.",
}
"""Every command and its one-line help, known without importing it."""


class ExitCode(IntEnum):
    """Exit statuses of all commands."""

    OK = 0
    FAILED = 1
    USAGE = 2
    """Wrong usage, or an invalid configuration."""
    UNREACHABLE = 3
    """No launcher answers at that address."""
    INTERRUPTED = 128 + signal.SIGINT
    """Ctrl-C, unless it is the ordinary way to end the command."""
