"""The entry point of a test's model image: takes ``vllm serve``'s arguments, runs the small real engine."""

from __future__ import annotations

import argparse
import os
import sys

ENGINE = "/opt/engine/engine.py"
PORT = 8000


def main() -> None:
    """Replace this process by the engine, under the first name that it is to be known by."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--served-model-name", nargs="+")
    args, _ = parser.parse_known_args(sys.argv[2:])  # the first is "serve"
    alias = (args.served_model_name or [args.model])[0]
    words = ["--host", "0.0.0.0", "--port", str(PORT), "--alias", alias, "--threads", "1"]
    os.execv(sys.executable, [sys.executable, ENGINE, *words])


if __name__ == "__main__":
    main()
