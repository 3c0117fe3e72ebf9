"""Measure hotseat against nginx on this machine.

    python -m benchmarks [NAME …] [--quick] [--peer NAME=URL,PID] [--markdown] [--out FILE]
    python -m benchmarks --show FILE [--markdown]

Without a name, all rows are measured, in under ten minutes. A peer is any other proxy, started by hand
in front of the fake upstream's port (18090) before or during the run.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks import launches, machine, report, rows, standby
from benchmarks.bench import Bench, load_process
from benchmarks.proxies import Cores, Unavailable, start_all

ROWS: dict[str, Callable[[Bench], None]] = {
    "idle": rows.idle,
    "memory": rows.memory,
    "requests_1": rows.requests_1,
    "requests_32": rows.requests_32,
    "first_token": rows.first_token,
    "streams_64": rows.streams_64,
    "streams_512": rows.streams_512,
    "flood": rows.flood,
    "streams_5000": rows.many_streams,
    "readiness": launches.readiness,
    "admission": launches.admission,
    "startup": launches.startup,
}
"""Rows in the order of measurement: idle and memory first, while the proxies are fresh."""
OF_HOTSEAT_ALONE = {"readiness", "admission", "startup"}


def main() -> int:
    """Measure, print and keep the results; the exit status is 1 if something could not be measured."""
    args = _arguments()
    if args.names == ["standby"]:
        return standby.main()
    if args.show:
        _print(report.read_lines(args.show)[1], markdown=args.markdown)
        return 0
    _allow_many_files()
    cores = Cores.pick()
    if cores.proxy == cores.load:
        print(
            "only one core is available; proxy and load generator share it, so only ratios are meaningful",
            file=sys.stderr,
        )
    about = machine.describe()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hotseat-bench-")))
        try:
            load = stack.enter_context(load_process(cores))
            direct, targets, missing = start_all(
                stack, cores, folder, args.upstream_port, args.peer, policies=not args.no_policies
            )
        except Unavailable as error:
            print(error, file=sys.stderr)
            return 1
        for why in missing:
            print(f"not measured: {why}\n", file=sys.stderr)
        bench = Bench(cores, folder, load, direct, targets, policies=not args.no_policies, quick=args.quick)
        if args.only:
            bench.targets = [target for target in targets if target.name.partition("+")[0] in args.only]
        began = time.monotonic()
        for name in args.names or ROWS:
            if name in OF_HOTSEAT_ALONE and not any(t.name == "hotseat" for t in targets):
                continue
            print(f"[{time.monotonic() - began:5.0f} s] {name}", file=sys.stderr)
            try:
                ROWS[name](bench)
            except Unavailable as error:
                missing.append(name)
                print(f"not measured: {name}: {error}", file=sys.stderr)
            report.write_lines(args.out, about, bench.figures)
    _print(bench.figures, markdown=args.markdown)
    print(f"results written to {args.out}", file=sys.stderr)
    return 1 if missing else 0


def _print(figures: report.Figures, *, markdown: bool) -> None:
    table = report.rows(figures)
    print(report.markdown(table) if markdown else report.terminal(table))


def _arguments() -> argparse.Namespace:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"rows: {', '.join(ROWS)}; or standby alone: swaps of the real vLLM",
    )
    parser.add_argument("--quick", action="store_true", help="run a third of the rounds")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=URL,PID[,PID]")
    parser.add_argument(
        "--only", action="append", metavar="TARGET", help="measure this target only; may be repeated"
    )
    parser.add_argument(
        "--no-policies", action="store_true", help="run hotseat without key check, limits and defaults"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument(
        "--show", type=Path, metavar="FILE", help="print the results in FILE; measure nothing"
    )
    parser.add_argument("--upstream-port", type=int, default=18090)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / f"{stamp}.jsonl")
    args = parser.parse_args()
    for name in args.names:
        if name not in ROWS and args.names != ["standby"]:
            parser.error(f"there is no row {name!r}; choose from {', '.join(ROWS)}, or standby alone")
    return args


def _allow_many_files() -> None:
    """Raise the limit of descriptors, which proxies inherit: 5,000 streams take 10,000 in a proxy."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
