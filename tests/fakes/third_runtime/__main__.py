"""hotseat's command line with a third runtime: one more folder in which ``hotseat.runtimes`` looks."""

from pathlib import Path

import hotseat.runtimes

hotseat.runtimes.__path__.append(str(Path(__file__).parent / "runtimes"))

from hotseat.cli import main  # noqa: E402 - the registry looks into the folders when it is imported

main(prog_name="hotseat")
