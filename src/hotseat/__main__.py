"""``python -m hotseat``."""

from hotseat.cli import main

main(prog_name="hotseat")
