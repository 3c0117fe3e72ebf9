"""``hotseat reload``: make the running launcher read its configuration again."""

from __future__ import annotations

import click

from hotseat.admin.schema import ReloadRequest, ReloadResponse
from hotseat.commands import _options
from hotseat.commands._client import KeyRefused
from hotseat.commands._describe import outdated_line
from hotseat.commands._output import echo_json
from hotseat.config.access import OLD_KEY


@click.command(
    "reload",
    epilog="""\b
Examples:
  hotseat reload
  cd /srv/llm/compose && hotseat reload    the launcher of a stack, with the port and key in its .env
  kill -HUP PID                            the same; the launcher's log shows the result

Not docker compose kill -s HUP: Docker would take the container for stopped by hand, and not start it again
after a restart of the machine.

Exit status: 0 done, 1 the configuration is invalid and nothing was changed, 2 wrong usage,
3 no launcher answers.""",
)
@_options.json_option("the launcher's response")
@_options.launcher_options
def command(as_json: bool, url: str | None, config: str | None) -> None:
    """Make the running launcher read its configuration again.

    The launcher reads the file it was started with, and the file named by HOTSEAT_ENV_FILE. Models whose
    configuration has not changed keep running, with their requests.
    """
    response = _reload(url, config)
    if as_json:
        echo_json(response)
    else:
        click.echo("\n".join(["Reloaded.", *_changes(response)]))


def _reload(url: str | None, config: str | None) -> ReloadResponse:
    try:
        return _options.connect(url, config).post("/admin/reload", ReloadRequest(), ReloadResponse)
    except KeyRefused as refused:
        # Where the clients' key is the only one and was just rotated, the launcher still has the old one.
        if refused.reply.code != "invalid_api_key":
            raise
        try:
            earlier = _options.connect(url, config, (OLD_KEY,))
            return earlier.post("/admin/reload", ReloadRequest(), ReloadResponse)
        except KeyRefused:
            raise refused from None


def _changes(response: ReloadResponse) -> list[str]:
    lines = [f"{name}: added" for name in response.added]
    lines += [f"{name}: removed; stops when its requests have finished" for name in response.removed]
    lines += [
        f"{name}: changed; restarts when idle. To restart now: hotseat stop {name}"
        for name in response.changed
    ]
    why = "its container was made from other settings than the Compose file has now"
    lines += [outdated_line(name, why) for name in response.outdated]
    return lines + [f"{name}: takes effect when hotseat is restarted" for name in response.needs_restart]
