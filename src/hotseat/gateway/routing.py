"""Routing of paths: tables that are built once from the configuration, and looked up for each request.

The raw path is looked up, never a decoded one. A path that does not normalise to itself (escapes, dot
segments, empty segments, parameters, backslashes) leads nowhere, so no spelling reaches anything that the
allow-list does not name.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from urllib.parse import unquote_to_bytes

from hotseat.core.spec import ModelSpec, RouteSpec, Settings
from hotseat.gateway.http.errors import not_found
from hotseat.gateway.policy.cors import Cors
from hotseat.gateway.policy.rate_limit import Limit, Limiter
from hotseat.gateway.policy.rewrite import RewriteRules
from hotseat.logs import redact

CONTROL_SEGMENTS = frozenset(
    {
        b"healthz",
        b"readyz",
        b"health",
        b"routes",
        b"stats",
        b"admin",
        b"metrics",
        b"events",
        b"logs",
        b"openapi.json",
        b"",  # the path "/" alone: "//…" is no plain path
        b"ui",
        b"mcp",
    }
)
"""First segments of the paths that hotseat itself answers."""

DATA_PATHS = frozenset(
    {
        b"/tokenize",
        b"/detokenize",
        b"/rerank",
        b"/v2/rerank",
        b"/score",
        b"/classify",
        b"/pooling",
        b"/infill",
        b"/completion",
    }
)
"""Paths outside ``/v1`` that are passed to a model's server."""

PROBE_PATH = b"/api/hello"
"""Asked by Claude Code to see whether its API is there."""

BARE_PATHS = frozenset(
    {
        b"/models",
        b"/chat/completions",
        b"/completions",
        b"/embeddings",
        b"/responses",
        b"/messages",
        b"/messages/count_tokens",
        b"/moderations",
        b"/audio/speech",
        b"/audio/transcriptions",
        b"/audio/translations",
        b"/images/generations",
        b"/images/edits",
    }
)
"""Paths of the APIs without their ``/v1``, as clients send them whose base URL lacks it."""

WORK_PATHS = DATA_PATHS | frozenset(
    b"/v1/" + path
    for path in (
        b"audio/speech",
        b"audio/transcriptions",
        b"audio/translations",
        b"chat/completions",
        b"chat/completions/render",
        b"classify",
        b"completions",
        b"completions/render",
        b"embeddings",
        b"images/edits",
        b"images/generations",
        b"images/variations",
        b"messages",
        b"messages/count_tokens",
        b"moderations",
        b"pooling",
        b"rerank",
        b"responses",
        b"responses/compact",
        b"responses/input_tokens",
        b"score",
        b"tokenize",
        b"detokenize",
        b"videos",
    )
)
"""Paths at which a POST request asks a model for work, whether it names one or not."""

_OBJECT_SEGMENTS = frozenset(
    {
        b"assistants",
        b"batches",
        b"containers",
        b"conversations",
        b"evals",
        b"files",
        b"fine_tuning",
        b"organization",
        b"responses",
        b"threads",
        b"uploads",
        b"vector_stores",
    }
)
"""First segments below ``/v1`` of objects that a server keeps; a POST request there (``…/cancel``) asks for
no work, unless it names a model."""

_MADE_PATHS = frozenset(
    {b"/v1/responses", b"/v1/chat/completions", b"/v1/files", b"/v1/batches", b"/v1/uploads", b"/v1/videos"}
)
"""Paths whose POST requests make objects that can be asked for by their ids."""

_KNOWN_PATHS = WORK_PATHS | _MADE_PATHS | {b"/v1/models", b"/v1/realtime"}
"""Paths that are known to servers without a slash at their end."""

EVENT_STREAM_PATHS = frozenset(
    {
        b"/v1/chat/completions",
        b"/v1/completions",
        b"/v1/responses",
        b"/v1/messages",
        b"/completion",
        b"/infill",
    }
)
"""Paths where ``stream: true`` is always answered by an event stream. Elsewhere servers differ: audio comes
as bytes or as events, transcriptions as events or as plain JSON, others as lines of JSON."""

SERVER_ADMIN_SEGMENTS = frozenset(
    {b"load_lora_adapter", b"unload_lora_adapter", b"lora", b"model", b"internal", b"admin"}
)
"""First segments below ``/v1`` that change a server (of vLLM and of other servers); never passed on."""

_V1_TWICE = b"/v1/v1/"
_PLAIN_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,:@=/"
_CAPABILITIES = {
    b"/v1/embeddings": "embeddings",
    b"/v1/completions": "completions",
    b"/v1/audio/transcriptions": "transcription",
    b"/v1/audio/translations": "transcription",
    b"/v1/audio/speech": "speech",
    b"/rerank": "rerank",
    b"/v1/rerank": "rerank",
    b"/v2/rerank": "rerank",
}
"""What a model must be able to do to answer at a path; at all others: chat."""
_SLASHES = re.compile(rb"//+")
_MAX_CACHED_PATHS = 4096
_MAX_CACHED_LENGTH = 128


class TargetKind(Enum):
    """The party that answers at a path."""

    DATA = auto()
    """A model's server."""
    MODELS = auto()
    """The gateway: the list of models."""
    CONTROL = auto()
    """The admin application."""


class Route:
    """A public name and the model it leads to, prepared for the hot path.

    Whatever needs no preparation is read from ``policy`` itself.
    """

    __slots__ = (
        "aliases",
        "allow_paths",
        "allow_trees",
        "authorization",
        "capabilities",
        "context",
        "cors",
        "first_byte_timeout_s",
        "guarded",
        "known_names",
        "limits",
        "model",
        "name",
        "policy",
        "priority",
        "rules",
        "server_name",
    )

    def __init__(
        self, spec: RouteSpec, model: ModelSpec, limits: tuple[Limit, ...], *, guarded: bool
    ) -> None:
        self.name = spec.name
        self.aliases = spec.aliases
        """Further names; those with ``*`` are patterns."""
        self.model = model.name
        self.context = model.context
        self.capabilities = model.capabilities
        self.guarded = guarded
        """Whether a key is required."""
        policy = self.policy = spec.policy
        self.limits = limits
        self.rules = RewriteRules(policy) if policy.rewrites else None
        """``None``: bodies are passed on as they are."""
        self.cors = Cors(policy.cors)
        self.priority = spec.priority
        self.first_byte_timeout_s = model.first_byte_timeout_s
        self.server_name = model.served_names[0] if model.served_names else None
        """The name under which the server serves the model; ``None``: unknown, so names are left alone."""
        self.known_names = frozenset((*model.served_names, *model.lora_names))
        key = model.upstream_key
        self.authorization = b"authorization: Bearer %b\r\n" % key.encode() if key else b""
        self.allow_paths = frozenset(p.encode() for p in model.allow_paths if not p.endswith("/**"))
        self.allow_trees = tuple(p[:-2].encode() for p in model.allow_paths if p.endswith("/**"))

    def allows(self, path: bytes) -> bool:
        """Whether the model's own ``allow_paths`` include this path."""
        return path in self.allow_paths or path.startswith(self.allow_trees)

    def may_serve(self, path: bytes) -> bool:
        """Whether the model can do what this path asks, as far as that is known."""
        if not self.capabilities:
            return True
        wanted = _CAPABILITIES.get(path, "chat")
        return wanted in self.capabilities

    def rename(self, name: str | None) -> str | None:
        """The name that replaces the one in the body, or ``None`` to leave the body alone."""
        fixed = self.policy.model_name
        if fixed is not None:
            return fixed
        if name is None or self.server_name is None or name in self.known_names:
            return None
        return self.server_name


class Target:
    """The destination of one path."""

    __slots__ = (
        "anthropic",
        "any_type",
        "events",
        "is_start_check",
        "is_work",
        "kind",
        "makes_ids",
        "model_id",
        "path",
        "responses",
        "route",
        "special",
        "takes_websockets",
        "text",
    )

    def __init__(
        self,
        kind: TargetKind,
        path: bytes,
        route: Route | None = None,
        *,
        special: bool = False,
        model_id: str = "",
    ) -> None:
        self.kind = kind
        self.path = path
        """The path at the model's server; for the other kinds the whole path."""
        self.text = redact(path.decode("ascii"))
        """The path for the log."""
        self.route = route
        """``None``: decided by the body's ``model``, or else the default route."""
        self.special = special
        """Allowed only by the ``allow_paths`` of some models."""
        self.model_id = model_id
        """The id of ``/v1/models/{id}``, decoded."""
        self.anthropic = is_anthropic(path)
        self.any_type = special or (route is not None and route.allows(path))
        """Whether the operator allowed the path for some models: bodies may be of any type."""
        self.takes_websockets = path == b"/v1/realtime" or self.any_type
        """Whether the path may be a WebSocket's."""
        self.events = path in EVENT_STREAM_PATHS
        """Whether ``stream: true`` is answered by an event stream, whatever the server."""
        self.is_work = path in WORK_PATHS or special or (route is not None and not _is_object(path))
        """Whether a POST request here asks the model for work although it does not name one."""
        self.is_start_check = route is not None and path == b"/v1/models"
        """Whether a read here starts the model: ``GET /chat/v1/models`` is how people see a lazy start."""
        self.makes_ids = path in _MADE_PATHS
        """Whether a POST request here makes an object that can be asked for by its id."""
        self.responses = path == b"/v1/responses" or path.startswith(b"/v1/responses/")
        """Whether streams have the events of OpenAI's Responses API."""


class RoutingTable:
    """The routes of one configuration; immutable."""

    __slots__ = (
        "_bare_paths",
        "_bare_trees",
        "_cache",
        "_depth",
        "_names",
        "_patterns",
        "_prefixes",
        "all_guarded",
        "cors",
        "default",
        "routes",
        "strict",
    )

    def __init__(self, settings: Settings, limiter: Limiter) -> None:
        enforced = settings.auth.enforced
        self.routes = tuple(
            Route(
                spec,
                settings.models[spec.model],
                limiter.limits(spec.policy.limits),
                guarded=enforced and spec.policy.auth,
            )
            for spec in settings.routes
        )
        self.all_guarded = enforced and all(route.guarded for route in self.routes)
        self.cors = Cors({origin for spec in settings.routes for origin in spec.policy.cors})
        """Of all routes together, for requests whose route is not known yet."""
        self.strict = settings.serve.strict_models
        self._prefixes = {
            spec.path.encode(): route for spec, route in zip(settings.routes, self.routes, strict=True)
        }
        self._depth = max((path.count(b"/") for path in self._prefixes), default=0)
        self._names = _names(settings, self.routes)
        self._patterns = _patterns(self.routes)
        self.default = self._names.get(settings.serve.default_route or "")
        self._bare_paths = frozenset().union(*(route.allow_paths for route in self.routes))
        self._bare_trees = tuple({tree for route in self.routes for tree in route.allow_trees})
        self._cache: dict[bytes, Target] = {}

    def resolve(self, path: bytes) -> Target:
        """The destination of a raw path (no query). Raises ``RequestRefused`` (404)."""
        target = self._cache.get(path)
        if target is None:
            target = self._resolve(path)
            if len(path) <= _MAX_CACHED_LENGTH:
                if len(self._cache) >= _MAX_CACHED_PATHS:
                    self._cache.clear()
                self._cache[path] = target
        return target

    def named(self, name: str | None) -> Route:
        """The route for a body's ``model`` on a path without a prefix. Raises ``RequestRefused`` (404)."""
        if name is not None:
            route = self._names.get(name) or self._matching(name)
            if route is not None:
                return route
            if self.strict or self.default is None:
                shown = redact(name)[:200]
                raise not_found(
                    f"the model {shown!r} does not exist here; GET /v1/models lists those that do",
                    code="model_not_found",
                    param="model",
                )
        if self.default is None:
            raise not_found(
                "the request names no model and there is no default model: "
                'put "model" in the body, or a model\'s prefix before the path',
                code="model_not_found",
                param="model",
            )
        return self.default

    def find(self, name: str) -> Route | None:
        """The route of this name or alias, if there is one."""
        return self._names.get(name) or self._matching(name)

    def _matching(self, name: str) -> Route | None:
        """The route with the most specific alias pattern that the name matches, if there is one."""
        return next((route for pattern, route in self._patterns if pattern.fullmatch(name)), None)

    def _resolve(self, path: bytes) -> Target:
        if b"//" in path or path.endswith(b"/"):
            path = self._without_spare_slashes(path)
        for models in (b"/v1/models", b"/models", b"/v1/v1/models"):
            if path in (models, models + b"/"):
                return Target(TargetKind.MODELS, b"/v1/models")
            if path.startswith(models + b"/") and self._prefixed(path)[0] is None:
                # Answered here and never passed on, so an escaped slash in a model's name is harmless.
                wanted = unquote_to_bytes(path[len(models) + 1 :]).decode("utf-8", "replace")
                return Target(TargetKind.MODELS, b"/v1/models", model_id=wanted)
        if not is_plain(path):
            raise not_found("no such path (escapes, dot segments and empty segments are not accepted)")
        if path.split(b"/", 2)[1] in CONTROL_SEGMENTS or path == PROBE_PATH:
            return Target(TargetKind.CONTROL, path)
        if path.startswith(_V1_TWICE) and (full := with_v1(path)) is not None:
            return Target(TargetKind.DATA, full)
        if is_passed(path):
            return Target(TargetKind.DATA, path)
        route, rest = self._prefixed(path)
        if route is not None:
            twice = rest.startswith(_V1_TWICE) and with_v1(rest) is not None
            if route.allows(rest) or (is_passed(rest) and not twice):
                return Target(TargetKind.DATA, rest, route)
            if path not in BARE_PATHS and (full := with_v1(rest)) is not None:
                return Target(TargetKind.DATA, full, route)
        elif path in self._bare_paths or path.startswith(self._bare_trees):
            return Target(TargetKind.DATA, path, special=True)
        if (full := with_v1(path)) is not None:
            return Target(TargetKind.DATA, full)
        raise not_found("no such path: use /v1/…, or a model's prefix followed by /v1/…")

    def unknown_path(self, path: bytes) -> str:
        """A path that leads nowhere, for the log: segments that could be a secret are replaced."""
        known = {part for prefix in self._prefixes for part in prefix.decode("ascii").split("/")}
        segments = redact(path[:_MAX_LOGGED_PATH].decode("latin-1")).split("/")
        return "/".join(
            part if part in known or _SAFE_SEGMENT.fullmatch(part) else "***" for part in segments
        )

    def _without_spare_slashes(self, path: bytes) -> bytes:
        """The path without empty segments and the slash at its end, if that is a known one; else as it is.

        Base URLs that end with a slash give such paths, and servers answer them with a redirect.
        """
        clean = _SLASHES.sub(b"/", path).rstrip(b"/")
        if not is_plain(clean):
            return path
        return clean if clean in _KNOWN_PATHS or self._prefixed(clean)[1] in _KNOWN_PATHS else path

    def _prefixed(self, path: bytes) -> tuple[Route | None, bytes]:
        """The route with the longest prefix of this path, and the rest of the path."""
        end = len(path)
        ends: list[int] = []
        at = path.find(b"/", 1)
        while at != -1 and len(ends) < self._depth:
            ends.append(at)
            at = path.find(b"/", at + 1)
        for end in reversed(ends):
            route = self._prefixes.get(path[:end])
            if route is not None:
                return route, path[end:]
        return None, path


def is_plain(path: bytes) -> bool:
    """Whether a raw path normalises to itself, so that every server reads it in the same way."""
    return (
        path.startswith(b"/")
        and not path.translate(None, _PLAIN_CHARACTERS)
        and b"//" not in path
        and b"/." not in path
    )


def is_passed(path: bytes) -> bool:
    """Whether this path may be passed to every model's server."""
    if path.startswith(b"/v1/"):
        return path.split(b"/", 3)[2].lower() not in SERVER_ADMIN_SEGMENTS and path != b"/v1/"
    return path in DATA_PATHS


def with_v1(path: bytes) -> bytes | None:
    """The path that a client means whose base URL lacks ``/v1``, or has it twice; ``None``: another path."""
    path = path.removeprefix(b"/v1/v1")
    return b"/v1" + path if path in BARE_PATHS else None


def _is_object(path: bytes) -> bool:
    """Whether this is the path of objects that a server keeps."""
    return path.startswith(b"/v1/") and path.split(b"/", 3)[2] in _OBJECT_SEGMENTS


def is_anthropic(path: bytes) -> bool:
    """Whether errors on this path, with a prefix or without, have Anthropic's shape."""
    return path.endswith(b"/v1/messages") or b"/v1/messages/" in path


def _patterns(routes: tuple[Route, ...]) -> tuple[tuple[re.Pattern[str], Route], ...]:
    """The aliases that are patterns, those with the most fixed characters first."""
    found = [(alias, route) for route in routes for alias in route.aliases if "*" in alias]
    found.sort(key=lambda pair: len(pair[0].replace("*", "")), reverse=True)
    return tuple(
        (re.compile(".*".join(map(re.escape, alias.split("*"))), re.DOTALL), route) for alias, route in found
    )


def _names(settings: Settings, routes: tuple[Route, ...]) -> dict[str, Route]:
    """Every name that a body may use, each leading to one route.

    Configured names (routes, aliases) come first; then the names that servers use (adapters, served names),
    where only one model has them.
    """
    names = {route.name: route for route in routes}
    for spec, route in zip(settings.routes, routes, strict=True):
        for alias in spec.aliases:
            if "*" not in alias:
                names.setdefault(alias, route)
    first: dict[str, Route] = {}
    for route in routes:
        if route.model not in first or route.name == route.model:
            first[route.model] = route
    for group in ("lora_names", "served_names"):
        known: dict[str, Route | None] = {}
        for model, route in first.items():
            for name in getattr(settings.models[model], group):
                known[name] = None if name in known else route
        for name, found in known.items():
            if found is not None:
                names.setdefault(name, found)
    return names


_MAX_LOGGED_PATH = 200
_SAFE_SEGMENT = re.compile(r"[A-Za-z]{0,16}|v\d{1,2}(?:alpha|beta)?\d?")
"""What a segment of an unknown path may look like to be logged: a word or a version, never a key."""


NOWHERE = Target(TargetKind.DATA, b"")
"""The target of a preflight request for a path that does not exist."""
