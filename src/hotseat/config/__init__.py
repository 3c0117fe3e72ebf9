"""The configuration file and the environment, strictly read.

``load(path, env)`` gives ``core.spec.Settings`` or raises ``ConfigError`` with everything that is wrong.
"""

from hotseat.config.load import find, load, loads
from hotseat.config.problems import ConfigError, Problem

__all__ = ["ConfigError", "Problem", "find", "load", "loads"]
