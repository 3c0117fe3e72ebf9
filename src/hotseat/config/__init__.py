"""Reads and checks the configuration file and the environment.

``load(path, env)`` returns ``core.spec.Settings`` or raises ``ConfigError`` with all problems.
"""

from hotseat.config.client_settings import read_listen_address, read_state_dir
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
    "read_listen_address",
    "read_state_dir",
    "secret_values",
]
