"""The JSON schema and the reference page, generated from the schema classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from hotseat.config import access, policies
from hotseat.config.load import OVERRIDES
from hotseat.config.resolve import UPSTREAM_KEY_VARIABLE
from hotseat.config.routing import RESERVED
from hotseat.config.schema.gpu import GpuConfig
from hotseat.config.schema.inherited import InheritedSettings
from hotseat.config.schema.keys import BasicAuthConfig, KeyConfig
from hotseat.config.schema.model import ModelConfig
from hotseat.config.schema.policy import PolicyConfig, SystemPromptConfig
from hotseat.config.schema.root import RootConfig
from hotseat.config.schema.route import RouteConfig
from hotseat.config.schema.service_levels import ServiceLevels
from hotseat.config.schema.sleep import SleepConfig
from hotseat.config.schema.tls import TlsConfig
from hotseat.envfile.disk import VARIABLE as ENV_FILE_VARIABLE
from hotseat.runtimes import registry

SECTIONS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("The top of the file", "", RootConfig),
    (
        "The top of the file and `models.NAME`: settings of models",
        "Written at the top of the file, a setting holds for all models; written on a model, for that model "
        "instead.",
        InheritedSettings,
    ),
    ("`gpu`", "The GPU memory that all models together may use.", GpuConfig),
    (
        "`models.NAME`",
        "A model. Its name consists of up to 64 letters, digits, dots, dashes and underscores.",
        ModelConfig,
    ),
    ("`routes.NAME`", "A public name and a path prefix that lead to a model.", RouteConfig),
    (
        "`models.NAME` and `routes.NAME`: policies",
        "A route takes the keys that it leaves out from its model. A key on the route replaces the model's "
        "value as a whole.",
        PolicyConfig,
    ),
    ("`keys.NAME`", "A client's key. Exactly one of `key`, `key_file` and `sha256` is required.", KeyConfig),
    (
        "`system_prompt`",
        "A system prompt that is set by the operator. Needs either `text` or `file`.",
        SystemPromptConfig,
    ),
    ("`basic`", "HTTP Basic authentication, required for every request.", BasicAuthConfig),
    ("`tls`", "HTTPS served by hotseat itself. Both keys are required.", TlsConfig),
    (
        "`sleep` and `models.NAME.sleep`",
        "vLLM's sleep mode: an idle model gives up its GPU memory without stopping and wakes in seconds.",
        SleepConfig,
    ),
    (
        "`slo` and `models.NAME.slo`",
        "Service levels that `hotseat bench report` compares benchmark results with.",
        ServiceLevels,
    ),
    *((section.title, section.about, section.keys) for section in registry.sections()),
)
"""Title, text and class of each section; a key that several classes inherit is in the section of its own."""

INTRODUCTION = """\
# Configuration

hotseat reads one YAML file: the one named by `hotseat serve -c FILE`, else by `HOTSEAT_CONFIG`, else the
first that exists of `./hotseat.yaml`, `$XDG_CONFIG_HOME/hotseat/hotseat.yaml`
(`~/.config/hotseat/hotseat.yaml`) and `/etc/hotseat/hotseat.yaml`. The smallest file that works:

```yaml
models:
  chat: {command: [my-server, --port, "{port}"]}
```

`hotseat check-config` reports all problems of a file, each with line, key and what to do.
`hotseat check-config --schema` prints the JSON schema ([config.schema.json](config.schema.json)) for editors.
[examples/hotseat.yaml](../../examples/hotseat.yaml) shows every part in use.

- **Durations**: `30m`, `90s`, `1h30m`, `500ms`, `2d`, or a number of seconds.
- **Sizes**: `32MiB`, `64GiB` (multiples of 1024), `10MB` (multiples of 1000), or a number of bytes.
- **Shares** of a GPU's memory: `0.18` is 18 % of the whole card.
- **Paths** of files are relative to the folder of the configuration file; `~` is the home folder.
- **Variables**: `${NAME}` in a value is replaced from the environment; it is an error if the variable is not
  set. `${NAME:-default}` uses the default if the variable is unset or empty, `${NAME-default}` only if it is
  unset. For a literal `${` write `$${`.
- **Extra keys**: top-level keys that begin with `x-` are ignored. Use them for notes, and for anchors that
  `<<: *name` merges.
- Unknown and duplicate keys are errors. Numbers are decimal; dates are text.
"""


def schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of the configuration file."""
    made = RootConfig.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "hotseat configuration"
    made["patternProperties"] = {"^x-": {}}
    return made


def schema_text() -> str:
    """The JSON schema as published text."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def markdown() -> str:
    """The reference page."""
    whole = schema()
    parts = [INTRODUCTION]
    for title, text, section in SECTIONS:
        properties = _properties(whole, section)
        parts.append(f"## {title}\n\n" + (f"{text}\n\n" if text else "") + _table(properties))
    parts.append(_environment())
    parts.append(
        "## Reserved paths\n\nA route's path must not begin with one of these: "
        + ", ".join(f"`/{name}`" for name in sorted(RESERVED))
        + ".\n"
    )
    return "\n".join(parts)


def _properties(whole: Mapping[str, Any], section: type[BaseModel]) -> Mapping[str, Any]:
    """The keys of a section, without those that have a section of their own."""
    if section is InheritedSettings:
        listed, keys = whole["properties"], set(InheritedSettings.model_fields)
    elif section is PolicyConfig:
        listed, keys = whole["$defs"][RouteConfig.__name__]["properties"], set(PolicyConfig.model_fields)
    else:
        listed = (
            whole["properties"] if section is RootConfig else whole["$defs"][section.__name__]["properties"]
        )
        keys = set(listed)
        for shared in (InheritedSettings, PolicyConfig):
            keys -= set(shared.model_fields) if issubclass(section, shared) else set()
    return {key: prop for key, prop in listed.items() if key in keys}


def _table(properties: Mapping[str, Mapping[str, Any]]) -> str:
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for key, prop in properties.items():
        description = str(prop.get("description", "")).replace("|", "\\|")
        rows.append(f"| `{key}` | {_kind(prop)} | {_default(prop)} | {description} |")
    return "\n".join(rows) + "\n"


def _kind(prop: Mapping[str, Any]) -> str:
    if "enum" in prop:
        return ", ".join(f"`{choice}`" for choice in prop["enum"] if not isinstance(choice, bool))
    if "const" in prop:
        return f"`{prop['const']}`"
    if "$ref" in prop:
        return "mapping"
    options = [one for one in prop.get("anyOf", ()) if one.get("type") != "null"]
    if "anyOf" in prop and "title" not in _own(prop):
        return " or ".join(dict.fromkeys(_kind(one) for one in options))
    if title := _own(prop).get("title"):
        return str(title)
    kinds = {"string": "text", "object": "mapping", "array": "list", "integer": "number"}
    kinds["boolean"] = "true or false"
    return kinds.get(str(prop.get("type")), str(prop.get("type", "mapping")))


def _own(prop: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema without the title that pydantic derives from the key's name, which begins with a capital."""
    title = str(prop.get("title", ""))
    return {key: value for key, value in prop.items() if key != "title" or title[:1].islower()}


def _default(prop: Mapping[str, Any]) -> str:
    default = prop.get("default")
    if default is None or default in ("", {}, []):
        return ""
    if isinstance(default, Mapping):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _environment() -> str:
    rows = ["| variable | |", "|---|---|", "| `HOTSEAT_CONFIG` | The file to read when none is named. |"]
    rows += [
        f"| `{variable}` | Overrides `{key}` at the top of the file, never a model's own. |"
        for variable, key in OVERRIDES.items()
    ]
    rows += [
        f"| `{access.KEY}` | The clients' default key, valid for all models. Without it and without `keys`, "
        "hotseat accepts requests from this machine only (loopback). |",
        f"| `{access.OLD_KEY}`, `{access.OLD_KEY_UNTIL}` | The previous default key, and when it expires "
        "(`hotseat rotate-key` writes both). |",
        f"| `{access.ADMIN_KEY}` | A key for the admin API only. If no admin key is configured, "
        f"`{access.KEY}` is one. |",
    ]
    rows += [
        f"| `NAME_{ending}` | The default of `{field}` on the route NAME, written in capitals with `_` for "
        "other characters than letters and digits (`CHAT_…`, `QWEN7B_…`). |"
        for ending, (field, _, _) in policies.NUMBERS.items()
    ]
    rows += [
        "| `NAME_MODEL` | The model name sent to the server of the route NAME, instead of its own. |",
        f"| `{UPSTREAM_KEY_VARIABLE}` | The key that the models' servers require, if it differs from the "
        "clients'. |",
        f"| `{ENV_FILE_VARIABLE}` | A `.env` file for variables that the environment does not set; "
        "read again whenever the configuration is. |",
    ]
    return "## Environment\n\nAn empty variable counts as not set.\n\n" + "\n".join(rows) + "\n"
