"""The MCP server: hotseat's tools, resources and prompts, over any ``LauncherApi``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from hotseat import __version__, config, logs
from hotseat.config import reference
from hotseat.mcp.launcher import LauncherApi, LauncherError
from hotseat.mcp.results import (
    AgentModelList,
    AgentModelStatus,
    CommandFindings,
    ConfigDifference,
    ConfigFinding,
    ConfigValidation,
    LauncherStatus,
    LogLines,
    ModelAnswer,
    ModelSummary,
    OrderResult,
    RecentFailures,
)
from hotseat.secret_names import is_secret_name

ApiOf = Callable[[Context], LauncherApi]
"""The launcher for a request: with the rights of whoever sent it."""

START_LIMIT_S = 900.0
POLL_S = 0.5
COMMAND_LIMIT_S = 300.0
NOT_RUNNING = frozenset({"stopped", "backoff", "downloading"})
LINES_MOST = 2000

READ_ONLY = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
CHANGES = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
DESTROYS = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)
ASKS = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)

INSTRUCTIONS = """\
hotseat runs one GPU for many models: a model is started by its first request, and models that do not fit
together take turns. Look before you change anything: list_models and status say what runs. A stop, a switch
or a restart may end answers of other people: the tool then says how many, and does nothing until you
confirm. Configuration is a YAML file on the launcher's machine: validate_config checks a draft, diff_config
says what a reload would change, reload applies the file. When a model does not start, logs and
recent_failures say why."""


def make_server(api_of: ApiOf) -> MCPServer:
    """Make the server. Tools raise ``ToolError`` with what hotseat answered."""
    server = MCPServer(
        "hotseat",
        title="hotseat",
        version=__version__,
        instructions=INSTRUCTIONS,
        log_level="WARNING",
    )
    _add_reading_tools(server, api_of)
    _add_orders(server, api_of)
    _add_configuration_tools(server, api_of)
    _add_resources(server, api_of)
    _add_prompts(server)
    return server


def _add_reading_tools(server: MCPServer, api_of: ApiOf) -> None:
    @server.tool(annotations=READ_ONLY)
    async def list_models(context: Context) -> AgentModelList:
        """List the models that this key may use: name for requests, state, path, aliases."""
        api = api_of(context)
        seen = await _call(api, "GET", "/v1/models")
        names = {str(one["id"]) for one in seen.get("data", [])}
        health = await _call(api, "GET", "/healthz", also=503)
        routes: Mapping[str, Any] = health.get("routes") or {}
        return AgentModelList(
            models=[
                ModelSummary(
                    route=name,
                    model=route["model"],
                    state=route["state"],
                    path=route["path"],
                    aliases=route.get("aliases", []),
                    default=bool(route.get("default")),
                )
                for name, route in routes.items()
                if name in names or not names
            ]
        )

    @server.tool(annotations=READ_ONLY)
    async def status(context: Context) -> LauncherStatus:
        """Say how every model stands (state, phase, in flight, waiting, last failure), and the GPUs."""
        told = await _call(api_of(context), "GET", "/stats")
        return LauncherStatus(
            models=[_model(name, row) for name, row in told["models"].items()],
            budget=told["budget"],
            gpus=told["gpus"],
            unusable_runtimes=told["unusable_runtimes"],
        )

    @server.tool(annotations=READ_ONLY)
    async def stats(context: Context) -> dict[str, Any]:
        """Return all of ``GET /stats``: counters, durations of starts, the last hour by minute, swaps."""
        return await _call(api_of(context), "GET", "/stats")

    @server.tool(name="logs", annotations=READ_ONLY)
    async def read_logs(context: Context, model: str, lines: int = 100) -> LogLines:
        """Read the last lines that a model's server wrote (1 to 2000)."""
        count = max(1, min(lines, LINES_MOST))
        told = await _call(api_of(context), "GET", f"/logs/{quote(model, safe='')}?lines={count}")
        return LogLines(model=told["model"], lines=told["lines"])

    @server.tool(annotations=READ_ONLY)
    async def recent_failures(context: Context) -> RecentFailures:
        """List the latest failed starts and crashes, newest first, each with its cause and what to do."""
        told = await _call(api_of(context), "GET", "/stats")
        return RecentFailures(failures=told["failures"])

    @server.tool(annotations=READ_ONLY)
    async def wait_until_ready(context: Context, model: str, timeout_s: float = 300.0) -> AgentModelStatus:
        """Wait until a model is ready, or has failed; starts nothing. Reports progress while it loads."""
        return await _wait(api_of(context), context, model, min(timeout_s, START_LIMIT_S))

    @server.tool(annotations=READ_ONLY)
    async def doctor(context: Context) -> CommandFindings:
        """Look at the launcher's machine: configuration, keys, Docker, GPU, disk, port, and what to type."""
        told = await _call(api_of(context), "GET", "/ui/api/doctor", timeout_s=90.0)
        checks = told.get("checks", [])
        bad = any(one.get("state") == "error" for one in checks)
        return CommandFindings(
            ok=not bad and not told.get("problem"), findings=checks, problem=told.get("problem")
        )


def _add_orders(server: MCPServer, api_of: ApiOf) -> None:
    @server.tool(annotations=CHANGES)
    async def start_model(
        context: Context, model: str, wait: bool = True, timeout_s: float = 600.0
    ) -> OrderResult:
        """Start a model now, also after failures. With wait: return when it is ready; progress is reported.

        Models that do not fit beside it leave when their turn ends; their answers are finished first.
        """
        api = api_of(context)
        await _call(api, "POST", "/admin/start", {"route": model})
        if not wait:
            return OrderResult(
                done=True, message=f"{model} is asked to start", model=await _status(api, model)
            )
        found = await _wait(api, context, model, min(timeout_s, START_LIMIT_S))
        ready = found.state == "ready"
        return OrderResult(done=ready, message=f"{model} is {found.state}", model=found)

    @server.tool(annotations=DESTROYS)
    async def stop_model(context: Context, model: str, confirm: bool = False) -> OrderResult:
        """Stop a model. While answers are under way nothing is done without confirm; the result counts them.

        With confirm they may finish until the model's drain deadline, and are cut then.
        """
        api = api_of(context)
        before = await _status(api, model)
        if before.in_flight and not confirm:
            return _unconfirmed(before.in_flight, f"stopping {model}", before)
        await _call(api, "POST", "/admin/stop", {"route": model, "wait": True}, timeout_s=START_LIMIT_S)
        return OrderResult(done=True, message=f"{model} is stopped", model=await _status(api, model))

    @server.tool(annotations=DESTROYS)
    async def switch_model(context: Context, model: str, confirm: bool = False) -> OrderResult:
        """Stop all other models and start this one; return when it is ready, with progress meanwhile.

        Where answers of the others are under way nothing is done without confirm; the result says how many.
        """
        api = api_of(context)
        own = (await _status(api, model)).model
        told = await _call(api, "GET", "/stats")
        others = {
            name: row
            for name, row in told["models"].items()
            if name != own and row["state"] not in NOT_RUNNING
        }
        cut = sum(row["in_flight"] for row in others.values())
        if cut and not confirm:
            return _unconfirmed(cut, f"switching to {model}", _model(own, told["models"][own]))
        for name in others:
            await _call(api, "POST", "/admin/stop", {"route": name})
        await _call(api, "POST", "/admin/start", {"route": model})
        found = await _wait(api, context, model, START_LIMIT_S)
        return OrderResult(done=found.state == "ready", message=f"{model} is {found.state}", model=found)

    @server.tool(annotations=ASKS)
    async def ask_model(context: Context, model: str, prompt: str, max_tokens: int = 256) -> ModelAnswer:
        """Ask a model one prompt, for a smoke test; a stopped model is started by it."""
        began = time.monotonic()
        body = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max(1, min(max_tokens, 4096)),
        }
        told = await _call(api_of(context), "POST", "/v1/chat/completions", body, timeout_s=START_LIMIT_S)
        usage = told.get("usage") or {}
        message = (told.get("choices") or [{}])[0].get("message") or {}
        return ModelAnswer(
            model=model,
            text=str(message.get("content") or ""),
            tokens_in=usage.get("prompt_tokens"),
            tokens_out=usage.get("completion_tokens"),
            seconds=round(time.monotonic() - began, 2),
        )

    @server.tool(annotations=ASKS)
    async def check(
        context: Context, models: list[str] | None = None, within_s: float = 300.0
    ) -> CommandFindings:
        """Ask each model for its list of models, as a client would: it is started, and the time is taken."""
        api = api_of(context)
        names = models or [str(one["id"]) for one in (await _call(api, "GET", "/v1/models")).get("data", [])]
        findings = []
        for at, name in enumerate(names):
            await context.report_progress(at, len(names), f"asking {name}")
            began = time.monotonic()
            row: dict[str, Any] = {"model": name, "ok": True}
            try:
                await api.call("GET", f"/{quote(name, safe='')}/v1/models", timeout_s=within_s)
            except LauncherError as error:
                row |= {"ok": False, "problem": str(error)}
            findings.append(row | {"seconds": round(time.monotonic() - began, 2)})
        return CommandFindings(ok=all(one["ok"] for one in findings), findings=findings)


def _add_configuration_tools(server: MCPServer, api_of: ApiOf) -> None:
    @server.tool(annotations=READ_ONLY)
    async def validate_config(context: Context, text: str) -> ConfigValidation:
        """Check the text of a configuration (YAML) as hotseat would read it: problems with line and key."""
        await _call(api_of(context), "GET", "/stats")  # for admins alone: it may name any file
        return await asyncio.to_thread(_validate, text)

    @server.tool(annotations=READ_ONLY)
    async def diff_config(context: Context) -> ConfigDifference:
        """Say what a reload would change: the file as it is now against the configuration in effect."""
        return ConfigDifference(**await _call(api_of(context), "POST", "/ui/api/preview", {}))

    @server.tool(annotations=DESTROYS)
    async def reload(context: Context) -> ConfigDifference:
        """Read the configuration's file again and apply it. With problems in it nothing changes.

        Removed models are drained and stopped, changed ones restart when they are idle.
        """
        try:
            told = await api_of(context).call("POST", "/admin/reload", {})
        except LauncherError as error:
            if problems := error.body.get("problems"):
                return ConfigDifference(problems=problems)
            raise ToolError(str(error)) from None
        return ConfigDifference(**{name: told.get(name, []) for name in ConfigDifference.model_fields})

    @server.tool(annotations=READ_ONLY)
    async def lint(context: Context) -> CommandFindings:
        """Find mistakes in the Compose files next to the launcher's configuration (``hotseat lint``)."""
        told = await _call(api_of(context), "GET", "/ui/api/config")
        folder = os.path.dirname(told["file"])
        return await _lint(folder)


def _add_resources(server: MCPServer, api_of: ApiOf) -> None:
    @server.resource("hotseat://reference/configuration", mime_type="text/markdown")
    def configuration_reference() -> str:
        """Every key of the configuration, with its type, its default and what it does."""
        return reference.markdown()

    # A template, since only those are told who asks.
    @server.resource("hotseat://configuration/{which}", mime_type="application/yaml")
    async def configuration(which: str, context: Context) -> str:
        """The configuration's file (``which`` is ``current``); secrets are dots."""
        if which != "current":
            raise ToolError("there is one configuration: hotseat://configuration/current")
        told = await _call(api_of(context), "GET", "/ui/api/config")
        return str(told["text"] or f"# {told['problem']}")

    @server.resource("hotseat://logs/{model}", mime_type="text/plain")
    async def model_log(model: str, context: Context) -> str:
        """The last lines that a model's server wrote."""
        told = await _call(api_of(context), "GET", f"/logs/{quote(model, safe='')}?lines={LINES_MOST}")
        return "\n".join(told["lines"])


def _add_prompts(server: MCPServer) -> None:
    @server.prompt(title="Add a model")
    def add_a_model(model: str, how: str = "") -> str:
        """Add a model to the configuration, check it, apply it and try it."""
        return f"""\
Add the model {model!r} to hotseat. {how}
1. Read the resources hotseat://reference/configuration and hotseat://configuration/current, and call status.
2. Write the new entry below `models:` in the file, like its neighbours; secrets only as ${{VARIABLES}}.
3. Call validate_config with the whole text and mend every problem at its line. Save the file.
4. Call diff_config: it must add {model} and change nothing else. Then call reload.
5. Call start_model. If it does not become ready, read logs and recent_failures, mend the cause, try again.
6. Call ask_model with a short prompt; report its answer, how long it took and how much memory it takes."""

    @server.prompt(title="Find out why a model does not start")
    def find_out_why(model: str) -> str:
        """Find the cause of a failing start, and say what would mend it."""
        return f"""\
The model {model!r} does not start. Find out why; change nothing yet.
1. Call status and recent_failures: the summary often names the cause, the hint what to do.
2. Call logs with 300 lines. The first error is the cause; what follows is how it spread.
3. Call doctor: GPU, memory, disk, Docker, the files of the model.
4. Read hotseat://configuration/current and compare the entry with hotseat://reference/configuration.
5. Report the cause in one sentence with the line that proves it, and the change that would mend it."""


def _unconfirmed(count: int, what: str, model: AgentModelStatus) -> OrderResult:
    answers = "an answer that is" if count == 1 else f"{count} answers that are"
    return OrderResult(
        done=False,
        message=f"nothing was done: {what} may cut {answers} under way; call again with confirm, or wait",
        model=model,
        would_cut=count,
    )


async def _call(
    api: LauncherApi,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    timeout_s: float = 60.0,
    also: int = 0,
) -> dict[str, Any]:
    """Ask the launcher; a refusal becomes the tool's error. Status ``also`` is good, too."""
    try:
        return await api.call(method, path, body, timeout_s)
    except LauncherError as error:
        if also and error.status == also:
            return dict(error.body)
        raise ToolError(logs.redact(str(error))) from None


def _model(name: str, row: Mapping[str, Any]) -> AgentModelStatus:
    known = {key: row[key] for key in AgentModelStatus.model_fields if key in row}
    return AgentModelStatus(model=name, **known)


async def _status(api: LauncherApi, name: str) -> AgentModelStatus:
    """One model's status, by its own name or a route's."""
    told = await _call(api, "GET", "/stats")
    if name in told["models"]:
        return _model(name, told["models"][name])
    routes = (await _call(api, "GET", "/routes"))["routes"]
    if name not in routes:
        raise ToolError(f"no route or model is called {name!r}; there are {', '.join(routes)}")
    model = routes[name]["model"]
    return _model(model, told["models"][model])


async def _wait(api: LauncherApi, context: Context, name: str, timeout_s: float) -> AgentModelStatus:
    """Wait until a model is ready or has given up, and report progress meanwhile."""
    began, told = time.monotonic(), ""
    while True:
        found = await _status(api, name)
        elapsed = time.monotonic() - began
        words = found.phase or found.state
        if words != told:
            told = words
            total = elapsed + found.eta_s if found.eta_s else None
            await context.report_progress(round(elapsed, 1), total, f"{name}: {words}")
        if found.state == "ready" or (found.state in ("backoff", "stopped") and found.failures):
            return found
        if elapsed > timeout_s:
            raise ToolError(f"{name} is {found.state} ({words}) after {timeout_s:g} s")
        await asyncio.sleep(POLL_S)


def _validate(text: str) -> ConfigValidation:
    """Read the text with stand-ins for all secrets of the environment, so that no message can show one."""
    env = {name: "x" * 40 if is_secret_name(name) and value else value for name, value in os.environ.items()}
    try:
        settings = config.loads(text, "hotseat.yaml", env)
    except config.ConfigError as error:
        problems = [
            ConfigFinding(line=one.line, key=one.key, message=logs.redact(one.message), hint=one.fix)
            for one in error.problems
        ]
        return ConfigValidation(valid=False, problems=problems)
    return ConfigValidation(valid=True, models=list(settings.models))


async def _lint(folder: str) -> CommandFindings:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hotseat", "lint", "--json", folder or "."),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMMAND_LIMIT_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ToolError("hotseat lint takes too long") from None
    try:
        told = json.loads(out)
    except ValueError:
        return CommandFindings(
            ok=False, findings=[], problem=logs.redact(err.decode(errors="replace"))[:2000]
        )
    findings = told.get("findings", [])
    return CommandFindings(ok=process.returncode == 0, findings=findings)
