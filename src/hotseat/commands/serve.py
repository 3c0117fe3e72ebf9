"""``hotseat serve``: run the launcher."""

from __future__ import annotations

import os

import click

from hotseat import logs
from hotseat.commands._environment import with_env_file
from hotseat.commands._errors import CommandFailed, InvalidConfig
from hotseat.config import ConfigError, environment, load, secret_values
from hotseat.core.spec import Settings
from hotseat.envfile.disk import VARIABLE as ENV_FILE


@click.command(
    "serve",
    epilog="""\b
Examples:
  hotseat serve -c hotseat.yaml
  LISTEN=127.0.0.1:9000 hotseat serve -c hotseat.yaml --log-format json

SIGTERM and Ctrl-C let running requests finish, then exit with status 0. SIGHUP reads the configuration
again, as hotseat reload does.""",
)
@click.option(
    "-c",
    "--config",
    metavar="FILE",
    help="The configuration. Default: the first of ./hotseat.yaml, ~/.config/hotseat/hotseat.yaml and "
    "/etc/hotseat/hotseat.yaml. [env: HOTSEAT_CONFIG]",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "human", "json"]),
    default="auto",
    show_default=True,
    help="human: for people; json: JSON lines; auto: human on a terminal, json elsewhere.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The lowest level that is logged.",
)
def command(config: str | None, log_format: logs.Form, log_level: logs.Level) -> None:
    """Run the launcher.

    Listens at once; a model starts when the first request for it arrives. Variables come from the
    environment, and then from the file that HOTSEAT_ENV_FILE names or a .env beside the configuration.
    """

    def read(file: str | None) -> Settings:
        env = environment(os.environ)
        settings = load(file, env)
        logs.hide(*secret_values(settings, env))
        return settings

    os.environ.update(with_env_file(config, os.environ))
    try:
        settings = read(config)
    except ConfigError as error:
        raise InvalidConfig(error) from None
    logs.setup(form=log_format, level=log_level)

    from hotseat.app import CannotServe, run  # slow to import

    source = os.path.abspath(settings.source)
    watched = [source, *([named] if (named := os.environ.get(ENV_FILE)) else [])]
    try:
        run(settings, lambda: read(source), watched)
    except CannotServe as error:
        raise CommandFailed(str(error)) from None
