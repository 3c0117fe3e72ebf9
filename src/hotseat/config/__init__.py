"""The configuration file and the environment, strictly read.

``load(path, env)`` gives ``core.spec.Settings`` or raises ``ConfigError`` with everything that is wrong.
"""

from hotseat.config.listen import state_folder
from hotseat.config.load import environment, find, load, loads
from hotseat.config.problems import ConfigError, ConfigProblem
from hotseat.config.secrets import secret_values
from hotseat.config.service_levels import read_levels

__all__ = [
    "ConfigError",
    "ConfigProblem",
    "environment",
    "find",
    "load",
    "loads",
    "read_levels",
    "secret_values",
    "state_folder",
]
