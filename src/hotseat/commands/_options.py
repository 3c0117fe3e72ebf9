"""Options that several commands share, and the launcher that they name."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from hotseat.commands import _credentials
from hotseat.commands._client import LauncherClient
from hotseat.commands._connection import LauncherAddress, is_this_machine
from hotseat.commands._environment import completed, published_address
from hotseat.commands._errors import InvalidConfig
from hotseat.config.client_settings import read_listen_address
from hotseat.config.problems import ConfigError

_Command = TypeVar("_Command", bound=Callable[..., Any])

_HEADERS_FILE = "hotseat.headers_file"
_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that a server listens on and nobody can connect to, and the one to use instead."""


def launcher_options(command: _Command) -> _Command:
    """``--url``, ``--config`` and ``--headers-file``: which launcher, and how to get through to it."""
    url = click.option(
        "--url",
        envvar="HOTSEAT_URL",
        metavar="URL",
        help="The launcher's URL. Default: the address in the configuration. [env: HOTSEAT_URL]",
    )
    config = click.option(
        "-c",
        "--config",
        metavar="FILE",
        help="The launcher's configuration, for its address. [env: HOTSEAT_CONFIG]",
    )
    headers_file = click.option(
        "--headers-file",
        envvar=_credentials.HEADERS_FILE,
        metavar="FILE",
        expose_value=False,
        callback=_keep_headers_file,
        help="File with header fields to send, one per line, for a proxy that requires them. A second factor "
        f"is read from {_credentials.API_SECRET} (X-API-Secret) or {_credentials.BASIC} (user:password). "
        f"[env: {_credentials.HEADERS_FILE}]",
    )
    return url(config(headers_file(command)))


def json_option(what: str) -> Callable[[_Command], _Command]:
    """``--json``: print ``what`` as JSON."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")


def _keep_headers_file(context: click.Context, _: click.Parameter, value: str | None) -> None:
    context.meta[_HEADERS_FILE] = value


def connect(
    url: str | None, config: str | None, key_variables: tuple[str, ...] = _credentials.ADMIN_KEYS
) -> LauncherClient:
    """A client of the launcher that ``launcher_options`` name.

    Raises ``InvalidConfig``, ``click.BadParameter`` and ``CommandFailed``; nothing is sent yet.
    """
    cert = None
    config = config or os.environ.get("HOTSEAT_CONFIG")
    # Keys of this folder are for this machine's launcher: they are sent nowhere else.
    env = completed(config, os.environ) if url is None or is_this_machine(url) else dict(os.environ)
    if url is None:
        try:
            listen = read_listen_address(config, env)
        except ConfigError as error:
            raise InvalidConfig(error) from None
        at, cert = published_address(config, env) or listen.listen, listen.cert
        scheme = "http" if cert is None else "https"
        reached = dataclasses.replace(at, host=_WILDCARDS.get(at.host, at.host))
        url = str(reached) if at.path else f"{scheme}://{reached}"
    context = click.get_current_context(silent=True)
    headers_file = None if context is None else context.meta.get(_HEADERS_FILE)
    return LauncherClient(LauncherAddress(url, cert), env, key_variables, headers_file=headers_file)
