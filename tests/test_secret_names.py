"""One list of secret names: everything that hides secrets hides each spelling, and lets other names pass."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fakes.gateway import front, model, settings
from fakes.wire import Served, always, ok
from hotseat import config, logs
from hotseat.admin.stats import without_secrets
from hotseat.config import secret_values
from hotseat.gateway.http.headers import RequestHead
from hotseat.gateway.policy.query import without_credentials
from hotseat.gateway.proxy.capture import Captures
from hotseat.secret_names import can_be_secret, is_secret_name
from hotseat.stack.compose.compose_file import ComposeText
from hotseat.stack.compose.model import from_data
from hotseat.stack.lint import lint
from hotseat.stack.lint.findings import LintedStack

VALUE = "hush-0123456789"
SECRET = [
    "ADMIN_API_KEY", "API-KEY", "DB_PASS", "HF_TOKEN", "X-API-Secret", "X-Amz-Security-Token", "access-token",
    "access_token", "api.key", "apiKey", "api_key", "api_key_2", "api_keys", "apikey", "auth",
    "authorization", "bearer", "client_secret", "cookie", "credential", "credentials", "hf_token", "id_jwt",
    "key", "passwd", "password", "private_key", "proxy-authorization", "secret", "set-cookie", "sig",
    "signature", "token",
]  # fmt: skip
HARMLESS = [
    "allow-credentials", "author", "bypass", "idempotency-key", "key_file", "key_name", "keyword",
    "max_tokens", "monkeys", "password_file", "prompt_cache_key", "secretary", "signal", "stop_token_ids",
    "token_type", "tokenizer", "tokens", "top_k",
]  # fmt: skip


def logged(name: str) -> str:
    """A line of the log with a field, a nested field and a URL."""
    stream = io.StringIO()
    logs.setup(form="json", stream=stream)
    try:
        logs.get().info("x", **{name: VALUE})
        logs.get().info("x", headers={"deep": {name: VALUE}})
        logs.get().info(f"GET /v1/x?a=http://b/?{name}={VALUE}&c=d")
    finally:
        logs.setup()
        logs.forget()
    return stream.getvalue()


def registered(name: str) -> str:
    """What the configuration registers as secrets, of an environment."""
    env = {name: VALUE}
    models = config.loads("models: {chat: {command: [x, '{port}']}}", "hotseat.yaml", {"HOME": "/h"})
    return VALUE if VALUE not in secret_values(models, env) else "***"


def shown_command(name: str) -> str:
    """A model's command as the admin API shows it."""
    return " ".join(without_secrets(["serve", f"--{name}", VALUE, f"--{name}={VALUE}"]))


def forwarded_query(name: str) -> str:
    return without_credentials(f"?a=b&{name}={VALUE}".encode()).decode()


def forwarded_headers(name: str) -> str:
    return RequestHead([(name.lower().encode(), VALUE.encode())]).passed.decode()


def lint_environment(name: str) -> str:
    return linted({"environment": {name: VALUE}})


def lint_command(name: str) -> str:
    return linted({"command": [f"--{name}", VALUE]}) + linted({"command": f"serve --{name}={VALUE}"})


def linted(service: Mapping[str, object]) -> str:
    """The value, unless lint has found it."""
    data = {"services": {"chat": {"image": "vllm", **service}}}
    stack = LintedStack(project=from_data(data, "llm"), written=ComposeText(data), settings=None)
    found = [one.message for one in lint(stack, "docker-compose.yml") if one.rule == "secret"]
    assert VALUE not in "".join(found)
    return "***" if found else VALUE


USERS: list[Callable[[str], str]] = [
    logged,
    registered,
    shown_command,
    forwarded_query,
    forwarded_headers,
    lint_environment,
    lint_command,
]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", SECRET)
def test_every_user_hides_every_spelling(user: Callable[[str], str], name: str) -> None:
    assert VALUE not in user(name)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", HARMLESS)
def test_every_user_lets_other_names_pass(user: Callable[[str], str], name: str) -> None:
    assert VALUE in user(name)
    assert "***" not in user(name)


@pytest.mark.anyio
async def test_a_capture_hides_what_came_in_a_secret_header(tmp_path: Path) -> None:
    def spelled(name: str) -> str:
        return f"{VALUE}-{'-'.join(map(str, name.encode()))}-end"

    captures = Captures(tmp_path, lambda: 1_800_000_000.0)
    async with (
        Served(always(ok(b"{}"))) as server,
        front(settings(model("chat")), ready={"chat": server.port}, captures=captures) as gate,
    ):
        captures.start("chat", 60)
        for name in (*SECRET, *HARMLESS):
            body = f'{{"said": "{spelled(name)}"}}'.encode()
            answer = await gate.ask("/chat/v1/x", body, headers=[(name, spelled(name))])
            assert answer.status == 200, name
        captures.stop("chat")
    text = (tmp_path / "chat.jsonl").read_text()
    assert [name for name in SECRET if spelled(name) in text] == []
    assert [name for name in HARMLESS if spelled(name) not in text] == []


@pytest.mark.parametrize("name", ["x-aPiKeY", "X_Api_Key[0]", "key2", "authKey", "oauth"])
def test_odd_spellings_are_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("value", ["true", "Off", "0", "", " none "])
def test_a_switch_is_no_secret(value: str) -> None:
    assert not can_be_secret(value)
    logs.hide(value)
    assert logs.redact(f'{{"a":{value}}}') == f'{{"a":{value}}}'
    logs.forget()


def test_a_value_of_a_query_is_hidden_to_its_end() -> None:
    assert logs.redact("GET /x?token=a?b=c&d=e") == "GET /x?token=***&d=e"
    assert logs.redact("GET /x?api%5Fkey=abc") == "GET /x?api%5Fkey=***"
    assert logs.redact("GET /x?token=&a=b") == "GET /x?token=&a=b"
