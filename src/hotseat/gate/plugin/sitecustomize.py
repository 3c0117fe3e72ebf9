"""Arms the gate at the start of every Python that has this folder on its path.

Python imports the first ``sitecustomize`` of its path and no other, so this one runs the next.
"""

import importlib.machinery
import importlib.util
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))


def _run_next() -> None:
    """Run the ``sitecustomize`` that this one hides."""
    path = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != _here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is None or spec.loader is None:
        return
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


if os.environ.get("HOTSEAT_GATE"):
    if _here not in map(os.path.abspath, sys.path):
        sys.path.append(_here)
    import hotseat_gate

    hotseat_gate.arm_torch()
_run_next()
