"""The JSON schema and the reference page, made from the shape of the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from hotseat.config import access, policies
from hotseat.config.load import OVERRIDES
from hotseat.config.resolve import UPSTREAM_KEY_VARIABLE
from hotseat.config.routing import RESERVED
from hotseat.config.schema.access import (
    BasicAuthConfig,
    KeyConfig,
    PolicyConfig,
    SystemPromptConfig,
    TlsConfig,
)
from hotseat.config.schema.file import (
    GpuConfig,
    ModelConfig,
    RootConfig,
    RouteConfig,
    SleepConfig,
)
from hotseat.config.schema.service_levels import ServiceLevels
from hotseat.envfile.disk import VARIABLE as ENV_FILE_VARIABLE
from hotseat.runtimes import registry

SECTIONS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("The top of the file", "", RootConfig),
    ("`gpu`", "The GPU memory that all models may take together.", GpuConfig),
    (
        "`models.NAME`",
        "A model. A name is made of letters, digits, dots, dashes and underscores. What it leaves out of the "
        "keys that stand at the top of the file too (`idle`, `start_timeout`, …) is taken from there.",
        ModelConfig,
    ),
    ("`routes.NAME`", "A public name and path prefix that leads to a model.", RouteConfig),
    (
        "`models.NAME` and `routes.NAME`: who may ask what",
        "What a route leaves out is taken from its model; what it says takes the place of all that the model "
        "says under that key.",
        PolicyConfig,
    ),
    ("`keys.NAME`", "A client's key.", KeyConfig),
    ("`system_prompt`", "The system prompt that requests get.", SystemPromptConfig),
    ("`basic`", "HTTP Basic, wanted before anything is passed on.", BasicAuthConfig),
    ("`tls`", "HTTPS by hotseat itself.", TlsConfig),
    ("`sleep` and `models.NAME.sleep`", "Sleep instead of stop (vLLM's sleep mode).", SleepConfig),
    (
        "`slo` and `models.NAME.slo`",
        "Service levels: what `hotseat bench report` holds the results of benchmarks against.",
        ServiceLevels,
    ),
    *((section.title, section.about, section.keys) for section in registry.sections()),
)

INTRODUCTION = """\
# Configuration

One YAML file: `hotseat serve -c FILE`, else `HOTSEAT_CONFIG`, else the first that exists of
`./hotseat.yaml`, `$XDG_CONFIG_HOME/hotseat/hotseat.yaml` (`~/.config/hotseat/hotseat.yaml`) and
`/etc/hotseat/hotseat.yaml`. The least that works:

```yaml
models:
  chat: {command: [my-server, --port, "{port}"]}
```

`hotseat check-config` tells everything that is wrong, each problem with file, line and key.
`hotseat check-config --schema` prints the JSON schema ([config.schema.json](config.schema.json)) for editors.
[examples/hotseat.yaml](../../examples/hotseat.yaml) shows every key at work.

- **Durations**: `30m`, `90s`, `1h30m`, `500ms`, `2d`, or a number of seconds.
- **Sizes**: `32MiB`, `64GiB` (1024), `10MB` (1000), or a number of bytes.
- **Shares** of a GPU's memory: `0.18` is 18 % of the whole card.
- **Paths of files** are relative to the file's folder; `~` is the home folder.
- **Variables**: `${NAME}` in a value is replaced from the environment, and is an error when it is not set;
  `${NAME:-default}` has a default (also for an empty one), `${NAME-default}` only where it is not set at
  all; `$${` stands for `${`.
- Keys that begin with `x-` at the top are yours: notes, and anchors for `<<: *name`.
- A duplicate key is an error, and so is an unknown one. Numbers are decimal, dates are text.
"""


def schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of the file."""
    made = RootConfig.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "hotseat configuration"
    made["patternProperties"] = {"^x-": {}}
    return made


def schema_text() -> str:
    """The schema as the text that is published."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def markdown() -> str:
    """The reference page."""
    whole = schema()
    parts = [INTRODUCTION]
    for title, text, shape in SECTIONS:
        properties = _properties(whole, shape)
        parts.append(f"## {title}\n\n" + (f"{text}\n\n" if text else "") + _table(properties))
    parts.append(_environment())
    parts.append(
        "## Reserved paths\n\nA route's path may not begin with one of these: "
        + ", ".join(f"`/{name}`" for name in sorted(RESERVED))
        + ".\n"
    )
    return "\n".join(parts)


def _properties(whole: Mapping[str, Any], shape: type[BaseModel]) -> Mapping[str, Any]:
    """The keys of one section: those that routes and models share have one of their own."""
    if shape is RootConfig:
        return dict(whole["properties"])
    shown = whole["$defs"][RouteConfig.__name__ if shape is PolicyConfig else shape.__name__]["properties"]
    return {
        key: prop
        for key, prop in shown.items()
        if (key in PolicyConfig.model_fields) == (shape is PolicyConfig)
    }


def _table(properties: Mapping[str, Mapping[str, Any]]) -> str:
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for key, prop in properties.items():
        description = str(prop.get("description", "")).replace("|", "\\|")
        rows.append(f"| `{key}` | {_kind(prop)} | {_default(prop)} | {description} |")
    return "\n".join(rows) + "\n"


def _kind(prop: Mapping[str, Any]) -> str:
    if "enum" in prop:
        return ", ".join(f"`{choice}`" for choice in prop["enum"])
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
    """Without the title that pydantic makes of the key's name (those begin with a capital)."""
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
        f"| `{access.KEY}` | The clients' default key, good for all models. Without it and without `keys`, "
        "only this machine is answered (loopback). |",
        f"| `{access.OLD_KEY}`, `{access.OLD_KEY_UNTIL}` | The key before it, and until when it is good too "
        "(`hotseat rotate-key` writes both). |",
        f"| `{access.ADMIN_KEY}` | Opens the admin API, and no model. While there is no admin key at all, "
        f"`{access.KEY}` opens it. |",
    ]
    rows += [
        f"| `NAME_{ending}` | The default of `{field}` on the route of this name (in capitals, `_` for what "
        "is no letter or digit: `CHAT_…`, `QWEN7B_…`). |"
        for ending, (field, _, _) in policies.NUMBERS.items()
    ]
    rows.append("| `NAME_MODEL` | The model name that the route's server is sent, in place of its own. |")
    rows.append(
        f"| `{UPSTREAM_KEY_VARIABLE}` | The key that the models' servers want, if it is not the clients'. |"
    )
    rows.append(
        f"| `{ENV_FILE_VARIABLE}` | A `.env` file whose variables count where the environment has none; read "
        "anew with the configuration. |"
    )
    return "## Environment\n\nAn empty variable counts as one that is not set.\n\n" + "\n".join(rows) + "\n"
