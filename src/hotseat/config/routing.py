"""Public names and path prefixes, and the models they lead to."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from hotseat.config.document import Document, Path, dotted
from hotseat.config.schema.root import RootConfig
from hotseat.core.spec import RouteSpec

RESERVED = frozenset(
    {
        "v1",
        "admin",
        "healthz",
        "readyz",
        "health",
        "routes",
        "stats",
        "metrics",
        "events",
        "logs",
        "openapi.json",
        "ui",
        "mcp",
    }
)
"""First segments of the paths that hotseat answers itself."""

_PART = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}"
_NAME = re.compile(rf"{_PART}(?:/{_PART}){{0,3}}")
"""As on Hugging Face (``Qwen/Qwen2.5-7B``) and as Ollama writes them (``llama:8b``)."""
_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~:-]*)+")


def routes(document: Document, root: RootConfig) -> list[RouteSpec]:
    """The configured routes, and one for each model that has none."""
    found: list[tuple[RouteSpec, Path]] = []
    routed: set[str] = set()
    for name, route in root.routes.items():
        at: Path = ("routes", name)
        model = route.model if route.model is not None else name
        if model not in root.models:
            if ("models", model) not in document.bad:
                _unknown_model(document, (*at, "model") if route.model is not None else at, model, root)
            continue
        routed.add(model)
        spec = RouteSpec(
            name=name,
            model=model,
            path=route.path or f"/{name}",
            aliases=route.aliases,
            priority=route.priority,
        )
        found.append((spec, at))
    for name, model_ in root.models.items():
        at = ("models", name)
        if name not in routed:
            spec = RouteSpec(name=name, model=name, path=model_.path or f"/{name}", aliases=model_.aliases)
            found.append((spec, at))
            continue
        for key in ("path", "aliases"):
            if key in model_.model_fields_set:
                document.problem(
                    (*at, key), "has no effect, since this model has routes of its own", "move it to a route"
                )
    _check_names(document, root)
    _check_unique(document, root, found)
    return [spec for spec, _ in found]


def default_route(document: Document, root: RootConfig, found: Sequence[RouteSpec]) -> RouteSpec | None:
    """The route that ``default_model`` means: the one of that name, else the model's first."""
    wanted = root.default_model
    if wanted is None:
        return None
    for route in [*found, *(RouteSpec(name=one.model, model=one.model, path=one.path) for one in found)]:
        if route.name == wanted:
            return next(one for one in found if one is route or one.model == wanted)
    if not {("models",), ("models", wanted), ("routes", wanted)} & document.bad:
        _unknown_model(document, ("default_model",), wanted, root)
    return None


def _unknown_model(document: Document, path: Path, name: str, root: RootConfig) -> None:
    near = difflib.get_close_matches(name, [*root.models, *root.routes], n=1)
    fix = f"did you mean {near[0]}?" if near else f"configured models: {', '.join(root.models) or 'none'}"
    document.problem(path, f"there is no model {document.shown(path, name)}", fix)


def _check_names(document: Document, root: RootConfig) -> None:
    for kind, named in (("models", root.models), ("routes", root.routes)):
        for name, one in named.items():
            at: Path = (kind, name)
            if not _NAME.fullmatch(name):
                document.problem(
                    at,
                    "a name consists of up to 64 letters, digits, dots, dashes, underscores and colons, "
                    "or of such parts with slashes between them",
                    "use aliases for other spellings",
                )
            elif one.path is None and (name.lower().split("/")[0] in RESERVED or "v1" in name.split("/")):
                document.problem(
                    at, f"/{name} is reserved for hotseat itself", "choose another name, or set path"
                )
            if one.path is not None:
                _check_path(document, (*at, "path"), one.path)


def _check_path(document: Document, at: Path, path: str) -> None:
    if not _PATH.fullmatch(path):
        fix = "without %, empty segments, a trailing slash or a segment that begins with a dot"
        document.problem(at, "expected a path prefix such as /chat", fix)
    elif path.split("/")[1].lower() in RESERVED or "v1" in path.split("/"):
        document.problem(
            at, f"{document.shown(at, path)} is reserved for hotseat itself", "choose another path"
        )


def _check_unique(document: Document, root: RootConfig, found: Sequence[tuple[RouteSpec, Path]]) -> None:
    paths: dict[str, Path] = {}
    names: dict[str, Path] = {spec.name: at for spec, at in found}
    for spec, at in found:
        if (first := paths.setdefault(spec.path, at)) != at:
            path = document.shown((*at, "path"), spec.path)
            document.problem(
                (*at, "path"), f"{path} is already the path of {dotted(first)}", "choose another path"
            )
    named: list[tuple[str, Path, Path]] = [
        (alias, at, (*at, "aliases")) for spec, at in found for alias in spec.aliases
    ]
    for name, model in root.models.items():
        named += [(lora, ("models", name), ("models", name, "lora")) for lora in model.lora]
    for alias, owner, key in named:
        if (first := names.setdefault(alias, owner)) != owner:
            document.problem(
                key,
                f"{document.shown(key, alias)} is already a name of {dotted(first)}",
                "choose another name",
            )
