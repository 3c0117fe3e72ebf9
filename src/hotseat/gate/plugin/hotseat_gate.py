"""The gate: a server starts as far as the device and waits there for the launcher's go.

Runs inside other programs' Python (vLLM, SGLang and others on torch), so it imports nothing of hotseat and
nothing outside of the standard library. The folder of this file on ``PYTHONPATH`` is all it needs: vLLM
finds the plugin by the ``dist-info`` beside it, and Python itself imports ``sitecustomize.py``.

``HOTSEAT_GATE`` names a folder with these files (``hotseat.gate.gate_folder`` is the launcher's side):

- ``fifo``: whoever stands by has it open for reading. The launcher opens it for writing: that is the go.
- ``go``: exists from the go on, so that processes which come to the gate later pass at once.
- ``log``: a line for each thing that the launcher wants to know: ``armed PID WHERE`` (this process will stop
  at the gate), ``ready PID`` (it stands by), ``passed PID``.

Without the folder or its FIFO at the start of the first process nothing is held. Once armed, the gate fails
closed: if the folder disappears, or the parent process ends, the process that stands by ends too.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import logging
import os
import pathlib
import select
import signal
import stat
import sys
import threading
import time
from typing import Any, NoReturn

GATE = "HOTSEAT_GATE"

log = logging.getLogger("vllm.hotseat_gate")
"""Below ``vllm``, so that its lines look like vLLM's own."""

_passed = threading.Event()
_lock = threading.Lock()


def _renew_lock() -> None:
    """Replace the lock in a forked child: a thread of its parent may hold it for ever."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def folder() -> str | None:
    """The gate's folder; ``None`` where this process is not to be held."""
    path = os.environ.get(GATE)
    if not path or _passed.is_set():
        return None
    return path


def disarm_without_fifo() -> None:
    """Forget a gate that nobody made, so that a server started by hand runs plainly; children inherit it.

    Only the first process may decide this: one whose parent was armed has ``HOTSEAT_GATE_ARMED`` set.
    """
    path = os.environ.get(GATE)
    if not path or os.environ.get(GATE + "_ARMED") == path:
        return
    if _is_fifo(os.path.join(path, "fifo")):
        os.environ[GATE + "_ARMED"] = path
    else:
        del os.environ[GATE]


def register() -> None:
    """Arm the gate in vLLM; the entry point of the plugin, called in each of its processes, perhaps twice."""
    disarm_without_fifo()
    gate = folder()
    if gate is None:
        return
    _import_rest(gate)
    try:
        from vllm.v1.worker.worker_base import WorkerWrapperBase

        held = WorkerWrapperBase.init_device
    except (ImportError, AttributeError) as error:
        # The gate at torch's first use of CUDA is left.
        log.warning("hotseat gate: this vLLM has no WorkerWrapperBase.init_device: %s", error)
        return
    if getattr(held, "_hotseat", False):
        return

    def init_device(self: Any, *args: Any, **kwargs: Any) -> Any:
        if folder() is not None:
            _import_model(getattr(self, "vllm_config", None))
            wait()
        return held(self, *args, **kwargs)

    init_device._hotseat = True  # type: ignore[attr-defined]
    WorkerWrapperBase.init_device = init_device
    _note(gate, "armed", "vllm")


_FRONTEND = (
    "vllm.entrypoints.launchers.app",
    "vllm.entrypoints.launchers.api_server.routers",
    "vllm.entrypoints.launchers.api_server.app_state",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "uvicorn.lifespan.on",
)
"""Modules that vLLM's API server imports only when its engine is up, besides its routers."""

_ENGINE = (
    "vllm.v1.core.sched.scheduler",
    "vllm.v1.structured_output",
    "vllm.model_executor.model_loader",
    "vllm.model_executor.layers.quantization.online.base",
)
"""Modules that vLLM's engine and its workers import after the device is initialised."""


def _import_rest(gate: str) -> None:
    """Import what this process of vLLM would import after the device; nothing where the gate is open."""
    if os.path.exists(os.path.join(gate, "go")):
        return
    import multiprocessing

    if multiprocessing.parent_process() is not None:
        _import_ahead(_ENGINE)
        return
    import vllm

    root = pathlib.Path(vllm.__path__[0])
    routers = sorted(root.glob("entrypoints/**/api_router.py"))
    names = (".".join(("vllm", *path.relative_to(root).with_suffix("").parts)) for path in routers)
    _import_ahead((*_FRONTEND, *names))


def _import_ahead(names: tuple[str, ...]) -> None:
    """Import what will be needed; a failure is left to the server's own import, which reports it."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            log.debug("hotseat gate: %s was not imported ahead: %s", name, error)


def _import_model(config: Any) -> None:
    """Import the model's class."""
    begun = time.monotonic()
    try:
        model = config.model_config
        model.registry.resolve_model_cls(model.architectures, model_config=model)
    except Exception as error:
        log.debug("hotseat gate: the model's class was not imported ahead: %s", error)
    log.debug("hotseat gate: imported the model in %.2f s", time.monotonic() - begun)


def arm_torch() -> None:
    """Arm the gate at torch's first use of CUDA, for any program on torch; called by ``sitecustomize``."""
    disarm_without_fifo()
    if folder() is None:
        return
    # torch would ask the driver, and not NVML, whether there is a device.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    sys.meta_path.insert(0, _TorchFinder())


class _TorchFinder(importlib.abc.MetaPathFinder):
    """Finds ``torch.cuda`` as the others do, and has the gate put into it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec of ``torch.cuda`` with a loader that arms the gate; ``None`` for any other module."""
        if name != "torch.cuda":
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _TorchLoader(spec.loader)
                return spec
        return None


class _TorchLoader(importlib.abc.Loader):
    """Loads ``torch.cuda`` and replaces its ``_lazy_init``, by which every first use of CUDA goes."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def create_module(self, spec: Any) -> Any:
        """The module, as the inner loader creates it."""
        return self._inner.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Run the module, then arm the gate in it."""
        module.__loader__ = module.__spec__.loader = self._inner
        self._inner.exec_module(module)
        held = getattr(module, "_lazy_init", None)
        gate = folder()
        if held is None or gate is None:
            return

        def _lazy_init() -> Any:
            # A child that was forked off a process with CUDA must get torch's own error at once.
            if folder() is not None and not module.is_initialized() and not _in_bad_fork(module):
                wait()
            return held()

        module._lazy_init = _lazy_init
        _note(gate, "armed", "torch")


def _in_bad_fork(module: Any) -> bool:
    asked = getattr(module, "_is_in_bad_fork", None)
    return bool(asked is not None and asked())


def wait() -> None:
    """Stand by until the launcher says go. Ends the process where that can no longer happen.

    SIGTERM and SIGINT end the process at once while it waits: vLLM's engine would keep them for later.
    """
    with _lock:
        gate = folder()
        if gate is None:
            return
        handlers = _default_signals()
        begun = time.monotonic()
        try:
            _wait(gate)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        _passed.set()
        log.info("hotseat gate: open after %.2f s", time.monotonic() - begun)


def _default_signals() -> dict[signal.Signals, Any]:
    """Give SIGTERM and SIGINT their default meaning; the handlers that they had."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {n: signal.signal(n, signal.SIG_DFL) for n in (signal.SIGTERM, signal.SIGINT)}


def _wait(gate: str) -> None:
    path = os.path.join(gate, "fifo")
    go = os.path.join(gate, "go")
    try:
        fifo = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        _end(f"the gate has gone ({error.strerror})")
    try:
        if not stat.S_ISFIFO(os.fstat(fifo).st_mode):
            _end("the gate is no FIFO")
        poller = select.poll()
        # Without a writer yet poll() reports nothing of a FIFO; after one it reports HUP, to every reader.
        poller.register(fifo, select.POLLIN)
        parent = _parent()
        if parent is not None:
            poller.register(parent, select.POLLIN)
        try:
            # The FIFO is open before this look: a go from now on wakes the poll.
            if not os.path.exists(go):
                log.info("hotseat gate: standing by")
                _note(gate, "ready")
                seen = [fd for fd, _ in poller.poll()]
                if fifo not in seen:
                    _end("the parent process has ended")
                if not os.path.exists(go):
                    _end("the gate was opened without a go")
        finally:
            if parent is not None:
                os.close(parent)
    finally:
        os.close(fifo)
    _note(gate, "passed")


def _parent() -> int | None:
    """A pidfd of the parent; ``None`` for what the launcher itself started, which outlives it."""
    if os.getpid() == os.getsid(0):
        return None
    multiprocessing = sys.modules.get("multiprocessing.process")
    process = multiprocessing.parent_process() if multiprocessing is not None else None
    parent = os.getppid() if process is None else process.pid
    try:
        descriptor = os.pidfd_open(parent)
    except (AttributeError, OSError):  # an old kernel or Python; 0: the parent is outside of the container
        descriptor = None
    if os.getppid() != parent:
        _end("the parent process has ended")
    return descriptor


def _note(gate: str, *words: str) -> None:
    """Append a line to the gate's log, in one write. A log that cannot be written stops nobody."""
    line = " ".join((words[0], str(os.getpid()), *words[1:])) + "\n"
    try:
        log_file = os.open(
            os.path.join(gate, "log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        log.warning("hotseat gate: its log cannot be written: %s", error.strerror)
        return
    try:
        os.write(log_file, line.encode())
    except OSError as error:
        log.warning("hotseat gate: its log cannot be written: %s", error.strerror)
    finally:
        os.close(log_file)


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def _end(why: str) -> NoReturn:
    """End this process without touching the device."""
    sys.stderr.write(f"hotseat gate: {why}; ending without having used the GPU\n")
    sys.stderr.flush()
    os._exit(1)
