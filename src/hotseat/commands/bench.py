"""``hotseat bench``: measure starts and throughput, keep the results, judge them."""

from __future__ import annotations

import click

from hotseat.commands import bench_report, bench_start, bench_throughput


@click.group("bench", no_args_is_help=True)
def command() -> None:
    """Measure how fast models start and generate, and whether that gets worse.

    \b
    hotseat bench start coder          starts, from the launch to the first good health check
    hotseat bench throughput coder     tokens per second, time to first token, between tokens
    hotseat bench report --compare     the results so far; fails where the latest are worse
    """


command.add_command(bench_start.command)
command.add_command(bench_throughput.command)
command.add_command(bench_report.command)
