"""The tools for agents, driven by the official client over both transports."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

from fakes.hotseat import Hotseat
from mcp import Client, MCPError, StdioServerParameters, stdio_client

ADMIN, CLIENT = "sk-admin-" + "a" * 32, "sk-client-" + "c" * 32
KEYS = {"ADMIN_API_KEY": ADMIN, "VLLM_API_KEY": CLIENT}
TOOLS = {
    *("list_models", "status", "start_model", "stop_model", "switch_model", "wait_until_ready", "logs"),
    *("recent_failures", "stats", "check", "doctor", "lint", "validate_config", "diff_config", "reload"),
    "ask_model",
}


@asynccontextmanager
async def over_http(hotseat: Hotseat, key: str | None = ADMIN) -> AsyncIterator[Client]:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with create_mcp_http_client(headers=headers) as http:
        url = f"http://127.0.0.1:{hotseat.port}/mcp"
        async with Client(streamable_http_client(url, http_client=http)) as client:
            yield client


@asynccontextmanager
async def over_stdio(hotseat: Hotseat, key: str | None = ADMIN) -> AsyncIterator[Client]:
    keys = {} if key is None else {"HOTSEAT_ADMIN_KEY": key, "HOTSEAT_API_KEY": CLIENT}
    url = f"http://127.0.0.1:{hotseat.port}"
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "hotseat", "mcp", "--url", url], env=keys
    )
    async with Client(stdio_client(parameters)) as client:
        yield client


pytestmark = pytest.mark.anyio

Connect = Callable[..., Any]
both = pytest.mark.parametrize("connect", [over_http, over_stdio])


@pytest.fixture
def launch(tmp_path: Path) -> Any:
    running: list[Hotseat] = []

    def start(models: dict[str, Any], env: dict[str, str] | None = None, **config: Any) -> Hotseat:
        hotseat = Hotseat(tmp_path, models, env=KEYS if env is None else env, **config)
        running.append(hotseat.start())
        return hotseat

    yield start
    for hotseat in running:
        hotseat.stop()


async def tool(client: Client, name: str, **arguments: Any) -> Any:
    """A tool's typed result."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def refused(client: Client, name: str, **arguments: Any) -> str:
    result = await client.call_tool(name, arguments)
    assert result.is_error, result.structured_content
    return str(result.content)


@both
async def test_an_agent_finds_every_tool_with_honest_annotations(connect: Connect, launch: Any) -> None:
    async with connect(launch({"chat": []})) as client:
        tools = {one.name: one for one in (await client.list_tools()).tools}
        assert set(tools) == TOOLS
        destroying = {name for name, one in tools.items() if one.annotations.destructive_hint}
        assert destroying == {"stop_model", "switch_model", "reload"}
        reading = {name for name, one in tools.items() if one.annotations.read_only_hint}
        assert reading == TOOLS - destroying - {"start_model", "ask_model", "check"}
        assert all(one.description and one.output_schema for one in tools.values())


@both
async def test_an_agent_adds_a_model_mends_it_and_asks_it(connect: Connect, launch: Any) -> None:
    hotseat = launch({"chat": []})
    async with connect(hotseat) as client:
        await client.get_prompt("add_a_model", {"model": "coder"})
        assert "footprint" in str((await client.read_resource("hotseat://reference/configuration")).contents)
        assert "chat:" in str((await client.read_resource("hotseat://configuration/current")).contents)

        wrong = "models:\n  coder:\n    command: serve\n    footprnt: 0.1\n"
        told = await tool(client, "validate_config", text=wrong)
        assert not told["valid"]
        assert (4, "models.coder.footprnt") in [(one["line"], one["key"]) for one in told["problems"]]

        hotseat.write({"chat": [], "coder": ["--start-fails"]})
        assert (await tool(client, "validate_config", text=hotseat.file.read_text()))["valid"]
        assert (await tool(client, "diff_config"))["added"] == ["coder"]
        assert (await tool(client, "reload"))["added"] == ["coder"]
        started = await tool(client, "start_model", model="coder")
        assert not started["done"]
        assert started["model"]["last_error"]["summary"]
        assert (await tool(client, "recent_failures"))["failures"][0]["model"] == "coder"
        assert (await tool(client, "logs", model="coder"))["lines"]

        hotseat.write({"chat": [], "coder": []})
        assert (await tool(client, "reload"))["changed"] == ["coder"]
        assert (await tool(client, "start_model", model="coder"))["done"]
        answer = await tool(client, "ask_model", model="coder", prompt="hello")
        assert answer["text"]
        assert answer["tokens_out"] > 0
        states = {one["model"]: one["state"] for one in (await tool(client, "list_models"))["models"]}
        assert states == {"chat": "stopped", "coder": "ready"}


@both
async def test_progress_is_told_while_a_model_loads(connect: Connect, launch: Any) -> None:
    hotseat = launch({"chat": ["--start-s", "2"]})
    told: list[str] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    async with connect(hotseat) as client:
        result = await client.call_tool("start_model", {"model": "chat"}, progress_callback=progress)
        assert result.structured_content["done"]
    assert told[0].startswith("chat: ")
    assert len(told) > 1


@both
async def test_a_stop_that_would_cut_answers_says_how_many(connect: Connect, launch: Any) -> None:
    hotseat = launch(
        {
            "chat": {"options": ["--tokens", "2000", "--token-interval-s", "0.02"], "drain_timeout": "1s"},
            "coder": [],
        }
    )
    asking = asyncio.create_task(asyncio.to_thread(ask_quietly, hotseat))  # noqa: TID251 - a test's own task
    async with connect(hotseat) as client:
        async with asyncio.timeout(30):
            while not (await tool(client, "status"))["models"][0]["in_flight"]:  # noqa: ASYNC110 - asked over the network
                await asyncio.sleep(0.05)
        for name, model in (("stop_model", "chat"), ("switch_model", "coder")):
            told = await tool(client, name, model=model)
            assert (told["done"], told["would_cut"]) == (False, 1)
            assert "nothing was done" in told["message"]
        assert (await tool(client, "status"))["models"][0]["state"] == "ready"
        assert (await tool(client, "switch_model", model="coder", confirm=True))["done"]
    await asking


def ask_quietly(hotseat: Hotseat) -> None:
    import contextlib

    with contextlib.suppress(Exception):  # it is cut off
        hotseat.send(
            "POST",
            "/v1/chat/completions",
            {"model": "chat", "stream": True},
            Authorization=f"Bearer {CLIENT}",
        )


async def test_a_clients_key_may_ask_its_models_and_order_nothing(launch: Any) -> None:
    async with over_http(launch({"chat": []}), CLIENT) as client:
        assert (await tool(client, "ask_model", model="chat", prompt="hello"))["text"]
        assert len((await tool(client, "list_models"))["models"]) == 1
        orders: list[tuple[str, dict[str, Any]]] = [
            *((name, {"model": "chat"}) for name in ("start_model", "stop_model", "switch_model", "logs")),
            *((name, {}) for name in ("status", "stats", "reload", "diff_config", "doctor", "lint")),
            ("validate_config", {"text": "models: {}"}),
        ]
        for name, arguments in orders:
            assert "admin" in await refused(client, name, **arguments), name


async def test_without_a_key_nobody_gets_in_and_on_loopback_everybody(launch: Any) -> None:
    hotseat = launch({"chat": []})
    with pytest.raises((MCPError, ExceptionGroup, Exception)):
        async with over_http(hotseat, None) as client:
            await client.list_tools()
    hotseat.stop()
    hotseat.environment = {}
    hotseat.start()
    async with over_http(hotseat, None) as client:
        assert (await tool(client, "start_model", model="chat"))["done"]


async def test_no_secret_is_told(launch: Any) -> None:
    hotseat = launch({"chat": []})
    async with over_http(hotseat) as client:
        text = "listen: ${ADMIN_API_KEY}\nmodels: {}\n"
        told = [await tool(client, "validate_config", text=text), await tool(client, "stats")]
        told.append((await client.read_resource("hotseat://configuration/current")).contents)
        assert ADMIN not in str(told)
        assert CLIENT not in str(told)
        problems = [one["key"] for one in told[0]["problems"]]
        assert problems


async def test_another_sites_page_is_no_agent(launch: Any) -> None:
    hotseat = launch({"chat": []}, env={})
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert hotseat.send("POST", "/mcp", body, **headers).status == 403
