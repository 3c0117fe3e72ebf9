"""The programs, and how their configuration files are written.

Taken from each program's own documentation: Continue (config.yaml, schema v1, and config.json before it),
opencode, Cline, Claude Code, Codex, Open WebUI, LibreChat (custom endpoints), Zed (openai_compatible), aider,
llm, LiteLLM, and the libraries. ``tests/clients/test_real_clients.py`` runs those that are packages.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from hotseat.clients.offer import SAFE_CONTEXT, Choice, Offered
from hotseat.clients.writing import Merge

TIMEOUT_S = 900
"""Time-out that programs are given, in seconds: an answer may include a model's start."""
CONTINUE_TIMEOUT = TIMEOUT_S * 1000
"""Continue's ``timeout``. Its adapter for OpenAI's API reads milliseconds, its own fetch reads seconds: as
seconds it is merely long."""
MAY_NOT_EVICT = {"X-Hotseat-May-Evict": "false"}
"""Header of requests that come by themselves: they are refused at once rather than stop another model."""
CURRENT = "current"
"""The ``model`` for titles, tags and summaries: whatever is loaded."""
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
    place: str | None = None
    """The file that ``--write`` puts it into; ``None``: it is no file."""
    merge: Merge = "replace"
    """How it is put into a file that is there already."""
    render_file: Callable[[Choice], str] | None = None
    """Renders the file for ``--write`` where that differs from what is printed."""
    endpoint: str = "/v1/chat/completions"
    """The API that the program speaks."""


def _yaml(data: Any, *comments: str) -> str:
    head = "".join(f"# {comment}\n" for comment in comments)
    return head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)


def _json(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _placeholder(choice: Choice) -> str:
    return choice.key or f"<the value of {choice.variable}>"


def _continue_model(choice: Choice, one: Offered) -> dict[str, Any]:
    model: dict[str, Any] = {
        "name": one.name,
        "provider": "openai",
        "model": one.name,
        "apiBase": choice.v1,
        "apiKey": choice.key or f"${{{{ secrets.{choice.variable} }}}}",
        "roles": ["chat", "edit", "apply"],
        "requestOptions": {"timeout": CONTINUE_TIMEOUT},
    }
    if one.context:
        model["defaultCompletionOptions"] = {"contextLength": one.context}
    return model


def _continue_completing(choice: Choice) -> dict[str, Any]:
    """The model for autocomplete: it comes with every keystroke, and must not stop another model."""
    return _continue_model(choice, choice.autocomplete) | {
        "name": f"{choice.autocomplete.name} autocomplete",
        "roles": ["autocomplete"],
        "requestOptions": {"timeout": CONTINUE_TIMEOUT, "headers": MAY_NOT_EVICT},
    }


def _continue(choice: Choice) -> str:
    data = {
        "name": "hotseat",
        "version": "1.0.0",
        "schema": "v1",
        "models": [
            *(_continue_model(choice, one) for one in choice.chats),
            _continue_completing(choice),
        ],
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
            "requestOptions": {"timeout": CONTINUE_TIMEOUT},
        }
        return fields | ({"contextLength": one.context} if one.context else {})

    models = [model(one) for one in choice.chats]
    completing = model(choice.autocomplete)
    completing["requestOptions"] = completing["requestOptions"] | {"headers": MAY_NOT_EVICT}
    return _json({"models": models, "tabAutocompleteModel": completing})


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
        "models": {
            **{one.name: model(one) for one in choice.chats},
            CURRENT: {"name": "whatever is loaded"},
        },
    }
    return _json(
        {
            "$schema": "https://opencode.ai/config.json",
            "provider": {"hotseat": provider},
            "model": chat,
            "small_model": f"hotseat/{CURRENT}",
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


def claude_code_variables(choice: Choice) -> dict[str, str]:
    """Claude Code's environment, but for the key."""
    one = choice.chat
    names = ["MODEL", "DEFAULT_HAIKU_MODEL", "DEFAULT_SONNET_MODEL", "DEFAULT_OPUS_MODEL"]
    limits = {}
    if one.context:  # Claude Code assumes a far larger context for models that it does not know
        limits = {
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(one.context),
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(one.context // 4),
        }
    return {
        "ANTHROPIC_BASE_URL": choice.url,
        **{f"ANTHROPIC_{name}": one.name for name in names},
        **limits,
        "API_TIMEOUT_MS": str(TIMEOUT_S * 1000),
        # Comments are no sign of life to it: it would hang up on a start of more than five minutes.
        "CLAUDE_STREAM_IDLE_TIMEOUT_MS": str(TIMEOUT_S * 1000),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


def _claude_code(choice: Choice) -> str:
    lines = [f"{name}={shlex.quote(value)}" for name, value in claude_code_variables(choice).items()]
    lines.insert(1, f"ANTHROPIC_AUTH_TOKEN={_shell_key(choice)}")
    return "".join(f"export {line}\n" for line in lines)


def _claude_code_settings(choice: Choice) -> str:
    """Claude Code's settings.json; it asks a command for a key that stands in the environment."""
    env = claude_code_variables(choice)
    if choice.key is not None:
        return _json({"env": env | {"ANTHROPIC_AUTH_TOKEN": choice.key}})
    return _json({"apiKeyHelper": f"printenv {choice.variable}", "env": env})


def _codex(choice: Choice) -> str:
    def text(value: str) -> str:
        return json.dumps(value, ensure_ascii=False)  # a TOML basic string

    one = choice.chat
    known = [f"model_context_window = {one.context}"] if one.context else []
    key = f"env_key = {text(choice.variable)}"
    if choice.key is not None:
        key = f"experimental_bearer_token = {text(choice.key)}"
    return "\n".join(
        [
            f"model = {text(one.name)}",
            'model_provider = "hotseat"',
            *known,
            "",
            "[model_providers.hotseat]",
            'name = "hotseat"',
            f"base_url = {text(choice.v1)}",
            key,
            'wire_api = "responses"',
            f"stream_idle_timeout_ms = {TIMEOUT_S * 1000}",
            "",
        ]
    )


def _open_webui(choice: Choice) -> str:
    environment = {
        "ENABLE_OLLAMA_API": "false",
        "OPENAI_API_BASE_URLS": choice.v1,
        "OPENAI_API_KEYS": choice.key.replace("$", "$$") if choice.key else f"${{{choice.variable}}}",
        "DEFAULT_MODELS": choice.chat.name,
        "TASK_MODEL_EXTERNAL": CURRENT,
        "AIOHTTP_CLIENT_TIMEOUT": str(TIMEOUT_S),
    }
    comment = "For Compose. In a container, 127.0.0.1 is the container itself: use this machine's address."
    return _yaml({"services": {"open-webui": {"environment": environment}}}, comment)


def _librechat(choice: Choice) -> str:
    endpoint = {
        "name": "hotseat",
        "apiKey": choice.key or f"${{{choice.variable}}}",
        "baseURL": choice.v1,
        # Not fetched: the launcher's list also has models that cannot chat.
        "models": {"default": [one.name for one in choice.chats], "fetch": choice.all_chat},
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

    provider = {"api_url": choice.v1, "available_models": [model(one) for one in choice.chats]}
    agent = {"default_model": {"provider": "hotseat", "model": choice.chat.name}}
    return _json({"language_models": {"openai_compatible": {"hotseat": provider}}, "agent": agent})


def _aider(choice: Choice) -> str:
    model = f"openai/{choice.chat.name}"
    data: dict[str, Any] = {
        "openai-api-base": choice.v1,
        "model": model,
        "weak-model": f"openai/{CURRENT}",
        "editor-model": model,
        "timeout": TIMEOUT_S,
        "show-model-warnings": False,
    }
    if choice.key:
        return _yaml(data | {"openai-api-key": choice.key})
    return _yaml(
        data, f'aider reads the key from the environment: export OPENAI_API_KEY="${choice.variable}"'
    )


def _llm(choice: Choice) -> str:
    def model(one: Offered) -> dict[str, Any]:
        fields = {"model_id": one.name, "model_name": one.name, "api_base": choice.v1}
        if choice.key is not None:
            return fields | {"headers": {"Authorization": f"Bearer {choice.key}"}}
        return fields | {"api_key_name": "hotseat"}

    return _yaml([model(one) for one in choice.chats])


def _litellm(choice: Choice) -> str:
    def model(one: Offered) -> dict[str, Any]:
        known = {"model_info": {"max_tokens": one.context}} if one.context else {}
        parameters = {
            "model": f"openai/{one.name}",
            "api_base": choice.v1,
            "api_key": choice.key or f"os.environ/{choice.variable}",
            "timeout": TIMEOUT_S,
            "stream_timeout": TIMEOUT_S,
        }
        return {"model_name": one.name, "litellm_params": parameters, **known}

    return _yaml({"model_list": [model(one) for one in choice.chats]})


def _langchain(choice: Choice) -> str:
    imports = "" if choice.key else "import os\n\n"
    return f"""\
{imports}from langchain_openai import ChatOpenAI

chat = ChatOpenAI(
    model={choice.chat.name!r},
    base_url={choice.v1!r},
    api_key={_python_key(choice)},
    timeout={TIMEOUT_S},
    # LangChain's own limit between two chunks is shorter than a model's start.
    stream_chunk_timeout={TIMEOUT_S},
)
for chunk in chat.stream("Hello!"):
    print(chunk.content, end="", flush=True)
print()
"""


def _ai_sdk(choice: Choice) -> str:
    key = json.dumps(choice.key) if choice.key else f"process.env.{choice.variable}"
    return f"""\
import {{ createOpenAICompatible }} from "@ai-sdk/openai-compatible";
import {{ streamText }} from "ai";

const hotseat = createOpenAICompatible({{
  name: "hotseat",
  baseURL: {json.dumps(choice.v1)},
  apiKey: {key},
}});
const {{ textStream }} = streamText({{
  model: hotseat({json.dumps(choice.chat.name)}),
  prompt: "Hello!",
  onError: ({{ error }}) => {{
    console.error(error);
    process.exitCode = 1;
  }},
}});
for await (const text of textStream) process.stdout.write(text);
process.stdout.write("\\n");
"""


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
        place="~/.continue/config.yaml",
        merge="yaml",
    ),
    "continue-json": Format(
        title="Continue (older versions): ~/.continue/config.json",
        render=_continue_json,
        coding=True,
        needs_key=True,
        place="~/.continue/config.json",
        merge="json",
    ),
    "opencode": Format(
        title="opencode: opencode.json",
        render=_opencode,
        coding=True,
        place="~/.config/opencode/opencode.json",
        merge="json",
    ),
    "cline": Format(title="Cline: values for its settings page", render=_cline, coding=True, needs_key=True),
    "claude-code": Format(
        title="Claude Code: environment variables for the shell",
        render=_claude_code,
        coding=True,
        note="Claude Code's own instructions take about 12,000 tokens: give the model a context of at least "
        "32,768 tokens.",
        endpoint="/v1/messages",
        place="~/.claude/settings.json",
        merge="json",
        render_file=_claude_code_settings,
    ),
    "codex": Format(
        title="Codex: ~/.codex/config.toml",
        render=_codex,
        coding=True,
        note="Codex's own instructions take about 8,000 tokens: give the model a context of at least 32,768 "
        "tokens.",
        endpoint="/v1/responses",
        place="~/.codex/config.toml",
        merge="toml",
    ),
    "open-webui": Format(title="Open WebUI: environment for its Compose file", render=_open_webui),
    "librechat": Format(
        title="LibreChat: librechat.yaml", render=_librechat, place="librechat.yaml", merge="yaml"
    ),
    "zed": Format(
        title="Zed: settings.json",
        render=_zed,
        coding=True,
        note=f"Zed reads the key from the environment ({ZED_VARIABLE}) or from its settings page, not from "
        "this file.",
        place="~/.config/zed/settings.json",
        merge="json",
    ),
    "aider": Format(
        title="aider: ~/.aider.conf.yml",
        render=_aider,
        coding=True,
        place="~/.aider.conf.yml",
        merge="yaml",
    ),
    "llm": Format(
        title="llm: extra-openai-models.yaml",
        render=_llm,
        note='llm keeps keys itself: llm keys set hotseat --value "${variable}"',
        place="~/.config/io.datasette.llm/extra-openai-models.yaml",
        merge="yaml",
    ),
    "litellm": Format(
        title="LiteLLM: its proxy's config.yaml", render=_litellm, place="config.yaml", merge="yaml"
    ),
    "openai-sdk": Format(title="OpenAI SDK: a Python program", render=_openai_sdk),
    "anthropic-sdk": Format(
        title="Anthropic SDK: a Python program", render=_anthropic_sdk, endpoint="/v1/messages"
    ),
    "langchain": Format(title="LangChain: a Python program", render=_langchain),
    "ai-sdk": Format(title="AI SDK: a JavaScript program (.mjs)", render=_ai_sdk),
    "curl": Format(title="curl: a command", render=_curl),
}
"""By their names in ``hotseat clients``."""
