"""Typed results of the tools, so that an agent reads fields and not prose."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class ModelSummary(BaseModel):
    """One model as ``list_models`` lists it."""

    route: str = Field(description="The name that requests use.")
    model: str
    state: str
    path: str = Field(description="The base path of its API.")
    aliases: list[str] = []
    default: bool = False


class AgentModelList(BaseModel):
    """Result of the tool ``list_models``."""

    models: list[ModelSummary]


class AgentModelStatus(BaseModel):
    """State of one model, for agents."""

    model: str
    state: str
    phase: str | None = None
    eta_s: float | None = Field(default=None, description="Seconds until it is ready, estimated.")
    in_flight: int = 0
    waiting: int = 0
    failures: int = Field(default=0, description="Failed starts and crashes in a row.")
    last_error: dict[str, Any] | None = Field(default=None, description="Summary, hint and last lines.")


class LauncherStatus(BaseModel):
    """Result of the tool ``status``: all models."""

    models: list[AgentModelStatus]
    budget: dict[str, float] = Field(description="Share of each GPU that models may take together.")
    gpus: list[dict[str, Any]] = []
    unusable_runtimes: dict[str, str] = {}


class OrderResult(BaseModel):
    """Outcome of an order, for agents."""

    done: bool
    message: str
    model: AgentModelStatus | None = None
    would_cut: int = Field(
        default=0,
        description="Answers under way that the order would wait for or cut; call again with confirm.",
    )


class LogLines(BaseModel):
    """The last lines of a model's log."""

    model: str
    lines: list[str]


class RecentFailures(BaseModel):
    """The latest failures, newest first."""

    failures: list[dict[str, Any]]


class CommandFindings(BaseModel):
    """The result of a command such as ``hotseat check`` or ``hotseat doctor``."""

    ok: bool
    findings: list[dict[str, Any]]
    problem: str | None = None


class ConfigFinding(BaseModel):
    """One mistake in a configuration."""

    line: int | None
    key: str
    message: str
    hint: str = ""


class ConfigValidation(BaseModel):
    """Result of the tool ``validate_config``: its problems."""

    valid: bool
    problems: list[ConfigFinding] = []
    models: list[str] = []


class ConfigDifference(BaseModel):
    """Changes that a reload makes, or would make."""

    problems: list[str] = []
    added: list[str] = []
    removed: list[str] = []
    changed: list[str] = []
    needs_restart: list[str] = []


class ModelAnswer(BaseModel):
    """Result of the tool ``ask_model``: one answer."""

    model: str
    text: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float = Field(description="From the question to the last token, the model's start included.")
