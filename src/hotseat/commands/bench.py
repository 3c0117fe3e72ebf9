"""``hotseat bench``: measure starts and throughput, save the results, check for regressions."""

from __future__ import annotations

import click

from hotseat.commands import bench_report, bench_start, bench_throughput


@click.group("bench", no_args_is_help=True)
def command() -> None:
    """Measure how fast models start and generate, and check for regressions.

    \b
    hotseat bench start coder          start times, from launch to the first passed health check
    hotseat bench throughput coder     tokens per second, time to first token, inter-token latency
    hotseat bench report --compare     all results; fails if the latest are worse than accepted ones
    """


command.add_command(bench_start.command)
command.add_command(bench_throughput.command)
command.add_command(bench_report.command)
