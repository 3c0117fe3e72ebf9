"""The programs, and how their configuration files are written.

Taken from each program's own documentation: Continue (config.yaml, schema v1, and config.json before it),
opencode, Cline, Claude Code, Open WebUI, LibreChat (custom endpoints), Zed (openai_compatible), aider.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from hotseat.clients.offer import SAFE_CONTEXT, Choice, Offered

TIMEOUT_S = 900
"""Time-out that programs are given, in seconds: an answer may include a model's start."""
ZED_VARIABLE = "HOTSEAT_API_KEY"
"""The variable from which Zed reads the key of a provider called hotseat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """The configuration of one program."""

    title: str
    render: Callable[[Choice], str]
    coding: bool = False
    """The program is a coding tool."""
    note: str = ""
    """Printed below the configuration; ``{variable}`` stands for the key's variable."""
    needs_key: bool = False
    """The configuration can hold a key, but no reference to an environment variable."""


def _yaml(data: Any, *comments: str) -> str:
    head = "".join(f"# {comment}\n" for comment in comments)
    return head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)


def _json(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _placeholder(choice: Choice) -> str:
    return choice.key or f"<the value of {choice.variable}>"


def _continue_model(choice: Choice, one: Offered) -> dict[str, Any]:
    roles = ["chat", "edit", "apply"] + (["autocomplete"] if one == choice.autocomplete else [])
    model: dict[str, Any] = {
        "name": one.name,
        "provider": "openai",
        "model": one.name,
        "apiBase": choice.v1,
        "apiKey": choice.key or f"${{{{ secrets.{choice.variable} }}}}",
        "roles": roles,
        "requestOptions": {"timeout": TIMEOUT_S},
    }
    if one.context:
        model["defaultCompletionOptions"] = {"contextLength": one.context}
    return model


def _continue(choice: Choice) -> str:
    data = {
        "name": "hotseat",
        "version": "1.0.0",
        "schema": "v1",
        "models": [_continue_model(choice, one) for one in choice.offered],
    }
    return _yaml(data, choice.why)


def _continue_json(choice: Choice) -> str:
    def model(one: Offered) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "title": one.name,
            "provider": "openai",
            "model": one.name,
            "apiBase": choice.v1,
            "apiKey": _placeholder(choice),
            "requestOptions": {"timeout": TIMEOUT_S},
        }
        return fields | ({"contextLength": one.context} if one.context else {})

    models = [model(one) for one in choice.offered]
    return _json({"models": models, "tabAutocompleteModel": model(choice.autocomplete)})


def _opencode(choice: Choice) -> str:
    def model(one: Offered) -> dict[str, Any]:
        limit = {"limit": {"context": one.context, "output": one.context // 2}} if one.context else {}
        return {"name": one.name, **limit}

    chat = f"hotseat/{choice.chat.name}"
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "hotseat",
        "options": {
            "baseURL": choice.v1,
            "apiKey": choice.key or f"{{env:{choice.variable}}}",
            **dict.fromkeys(("timeout", "headerTimeout", "chunkTimeout"), TIMEOUT_S * 1000),
        },
        "models": {one.name: model(one) for one in choice.offered},
    }
    return _json(
        {
            "$schema": "https://opencode.ai/config.json",
            "provider": {"hotseat": provider},
            "model": chat,
            "small_model": chat,
        }
    )


def _cline(choice: Choice) -> str:
    one = choice.chat
    fields = {
        "API Provider": "OpenAI Compatible",
        "Base URL": choice.v1,
        "API Key": _placeholder(choice),
        "Model ID": one.name,
        "Context Window Size": str(one.context or SAFE_CONTEXT),
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def _shell_key(choice: Choice) -> str:
    return shlex.quote(choice.key) if choice.key else f'"${choice.variable}"'


def _claude_code(choice: Choice) -> str:
    one = choice.chat
    model = shlex.quote(one.name)
    limits = []
    if one.context:  # Claude Code assumes a far larger context for models that it does not know
        limits = [
            f"CLAUDE_CODE_MAX_CONTEXT_TOKENS={one.context}",
            f"CLAUDE_CODE_MAX_OUTPUT_TOKENS={one.context // 4}",
        ]
    names = ["MODEL", "DEFAULT_HAIKU_MODEL", "DEFAULT_SONNET_MODEL", "DEFAULT_OPUS_MODEL"]
    return "".join(
        f"export {line}\n"
        for line in [
            f"ANTHROPIC_BASE_URL={shlex.quote(choice.url)}",
            f"ANTHROPIC_AUTH_TOKEN={_shell_key(choice)}",
            *(f"ANTHROPIC_{name}={model}" for name in names),
            *limits,
            f"API_TIMEOUT_MS={TIMEOUT_S * 1000}",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
        ]
    )


def _open_webui(choice: Choice) -> str:
    environment = {
        "ENABLE_OLLAMA_API": "false",
        "OPENAI_API_BASE_URLS": choice.v1,
        "OPENAI_API_KEYS": choice.key.replace("$", "$$") if choice.key else f"${{{choice.variable}}}",
        "DEFAULT_MODELS": choice.chat.name,
        "AIOHTTP_CLIENT_TIMEOUT": str(TIMEOUT_S),
    }
    comment = "For Compose. In a container, 127.0.0.1 is the container itself: use this machine's address."
    return _yaml({"services": {"open-webui": {"environment": environment}}}, comment)


def _librechat(choice: Choice) -> str:
    endpoint = {
        "name": "hotseat",
        "apiKey": choice.key or f"${{{choice.variable}}}",
        "baseURL": choice.v1,
        "models": {"default": [one.name for one in choice.offered], "fetch": True},
        "titleConvo": True,
        "titleModel": "current_model",
        "modelDisplayLabel": "hotseat",
    }
    comment = "The chat's own model makes the titles: another model would evict it from the GPU."
    return _yaml({"version": "1.2.1", "endpoints": {"custom": [endpoint]}}, comment)


def _zed(choice: Choice) -> str:
    def model(one: Offered) -> dict[str, Any]:
        return {
            "name": one.name,
            "display_name": one.name,
            "max_tokens": one.context or SAFE_CONTEXT,
            "capabilities": {
                "tools": True,
                "images": False,
                "parallel_tool_calls": False,
                "prompt_cache_key": False,
            },
        }

    provider = {"api_url": choice.v1, "available_models": [model(one) for one in choice.offered]}
    agent = {"default_model": {"provider": "hotseat", "model": choice.chat.name}}
    return _json({"language_models": {"openai_compatible": {"hotseat": provider}}, "agent": agent})


def _aider(choice: Choice) -> str:
    model = f"openai/{choice.chat.name}"
    data: dict[str, Any] = {
        "openai-api-base": choice.v1,
        "model": model,
        "weak-model": model,
        "editor-model": model,
        "timeout": TIMEOUT_S,
        "show-model-warnings": False,
    }
    if choice.key:
        return _yaml(data | {"openai-api-key": choice.key})
    return _yaml(
        data, f'aider reads the key from the environment: export OPENAI_API_KEY="${choice.variable}"'
    )


def _python_key(choice: Choice) -> str:
    return repr(choice.key) if choice.key else f'os.environ["{choice.variable}"]'


def _openai_sdk(choice: Choice) -> str:
    imports = "" if choice.key else "import os\n\n"
    return f"""\
{imports}from openai import OpenAI

client = OpenAI(base_url={choice.v1!r}, api_key={_python_key(choice)}, timeout={TIMEOUT_S})
stream = client.chat.completions.create(
    model={choice.chat.name!r},
    messages=[{{"role": "user", "content": "Hello!"}}],
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
"""


def _anthropic_sdk(choice: Choice) -> str:
    imports = "" if choice.key else "import os\n\n"
    return f"""\
{imports}from anthropic import Anthropic

client = Anthropic(base_url={choice.url!r}, api_key={_python_key(choice)}, timeout={TIMEOUT_S})
with client.messages.stream(
    model={choice.chat.name!r},
    max_tokens=1024,
    messages=[{{"role": "user", "content": "Hello!"}}],
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
"""


def _curl(choice: Choice) -> str:
    body = {
        "model": choice.chat.name,
        "messages": [{"role": "user", "content": "Hello!"}],
        "stream": True,
    }
    bearer = "Authorization: Bearer "
    header = shlex.quote(bearer + choice.key) if choice.key else f'"{bearer}${choice.variable}"'
    return (
        f"curl -sSN {shlex.quote(choice.v1 + '/chat/completions')} \\\n"
        f"  -H {header} -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(json.dumps(body))}\n"
    )


FORMATS: Mapping[str, Format] = {
    "continue": Format(
        title="Continue: ~/.continue/config.yaml",
        render=_continue,
        coding=True,
        note="Continue reads {variable} from ~/.continue/.env.",
    ),
    "continue-json": Format(
        title="Continue (older versions): ~/.continue/config.json",
        render=_continue_json,
        coding=True,
        needs_key=True,
    ),
    "opencode": Format(title="opencode: opencode.json", render=_opencode, coding=True),
    "cline": Format(title="Cline: values for its settings page", render=_cline, coding=True, needs_key=True),
    "claude-code": Format(
        title="Claude Code: environment variables for the shell",
        render=_claude_code,
        coding=True,
        note="Claude Code's own instructions take about 12,000 tokens: give the model a context of at least "
        "32,768 tokens.",
    ),
    "open-webui": Format(title="Open WebUI: environment for its Compose file", render=_open_webui),
    "librechat": Format(title="LibreChat: librechat.yaml", render=_librechat),
    "zed": Format(
        title="Zed: settings.json",
        render=_zed,
        coding=True,
        note=f"Zed reads the key from the environment ({ZED_VARIABLE}) or from its settings page, not from "
        "this file.",
    ),
    "aider": Format(title="aider: ~/.aider.conf.yml", render=_aider, coding=True),
    "openai-sdk": Format(title="OpenAI SDK: a Python program", render=_openai_sdk),
    "anthropic-sdk": Format(title="Anthropic SDK: a Python program", render=_anthropic_sdk),
    "curl": Format(title="curl: a command", render=_curl),
}
"""By their names in ``hotseat clients``."""
