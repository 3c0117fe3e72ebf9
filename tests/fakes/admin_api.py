"""Responses of the admin API, valid by its schema, for launchers that tests make up."""

from __future__ import annotations

from typing import Any

import msgspec

from hotseat.admin import schema


def model_status(state: str = "ready", **changes: Any) -> dict[str, Any]:
    """A model in ``/stats``, as JSON; it has done nothing unless ``changes`` say so."""
    fields: dict[str, Any] = dict.fromkeys(
        ("run", "phase", "eta_s", "last_move", "last_hit", "retry_in_s", "last_error")
    )
    fields |= dict.fromkeys(
        ("in_flight", "waiting", "requests", "tokens_in", "tokens_out", "starts", "idle_stops"), 0
    )
    fields |= {"evictions": 0, "failures": 0, "minutes": [], "spin_up_s": [], "footprint": {}}
    fields |= {"state": state, "since": "2026-01-01T00:00:00Z", "requested": False}
    return _valid(fields | changes, schema.ModelStatus)


def stats(
    models: dict[str, dict[str, Any]] | None = None, /, budget: dict[str, float] | None = None, **more: Any
) -> dict[str, Any]:
    """``/stats``, as JSON: ``models`` by name, or as keywords."""
    known = {"gpus", "failures", "swaps", "unusable_runtimes"}
    named = {name: one for name, one in more.items() if name not in known}
    fields: dict[str, Any] = {"models": {**(models or {}), **named}, "budget": budget or {}, "gpus": []}
    fields |= {"failures": [], "swaps": [], "unusable_runtimes": {}, "since": "2026-01-01T00:00:00Z"}
    return _valid(fields | {name: one for name, one in more.items() if name in known}, schema.StatsResponse)


def route(model: str, **changes: Any) -> dict[str, Any]:
    """A route in ``/routes``, as JSON."""
    fields: dict[str, Any] = {"model": model, "path": f"/{model}/v1", "aliases": [], "runtime": "process"}
    fields |= {"target": "server", "state": "ready", "default": False, "footprint": {}}
    return _valid(fields | changes, schema.RouteStatus)


def error(message: str, code: str = "invalid_request_error") -> dict[str, Any]:
    """An error, as JSON."""
    detail = {"message": message, "type": code, "param": None, "code": code}
    return _valid({"error": detail}, schema.Error)


def _valid(fields: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The same fields; raises ``msgspec.ValidationError`` for what the schema does not allow."""
    made: dict[str, Any] = msgspec.to_builtins(msgspec.convert(fields, kind))
    return made
