"""Policies of routes: from the route, else from its model, with defaults from the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from hotseat.bounded_file import read_bounded
from hotseat.config.access import scoped
from hotseat.config.document import Document, Path, SourcePosition
from hotseat.config.schema.policy import PolicyConfig, SystemPromptConfig
from hotseat.config.schema.root import RootConfig
from hotseat.core.access_spec import PolicySpec, PromptSpec

_MAX_PROMPT_BYTES = 256 * 1024


class PolicyResolver:
    """Makes a ``PolicySpec`` for each route; problems go into the document."""

    def __init__(
        self, document: Document, root: RootConfig, env: Mapping[str, str], file: Callable[[str], str]
    ) -> None:
        """``file`` resolves a path that the configuration names."""
        self._document, self._root, self._env, self._file = document, root, env, file

    def of(self, name: str, model: str) -> PolicySpec:
        """The policy of the route ``name``, which leads to ``model``."""
        own = self._root.routes.get(name)
        layers: list[tuple[Path, PolicyConfig]] = [(("models", model), self._root.models[model])]
        if own is not None:
            layers.insert(0, (("routes", name), own))

        def find(key: str) -> tuple[Path, Any]:
            for at, layer in layers:
                if (value := getattr(layer, key)) is not None:
                    return (*at, key), value
            return (), None

        at, limits = find("rate_limit")
        scope = "" if not at else f"{'route' if at[0] == 'routes' else 'model'} {at[1]}"
        prompt_at, prompt = find("system_prompt")
        access_log = find("access_log")[1]
        return PolicySpec(
            auth=find("auth")[1] is not False,
            defaults=(find("defaults")[1] or {}) | self._from_environment(name),
            clamp=find("clamp")[1] or {},
            drop=find("drop")[1] or (),
            allow_fields=find("allow_fields")[1] or (),
            prompt=self._prompt(prompt_at, prompt) if prompt is not None else None,
            cors=find("cors")[1] or (),
            limits=scoped(limits or (), scope),
            max_hold_s=find("max_hold")[1],
            progress=None if (progress := find("progress")[1]) == "off" else progress,
            may_evict=find("may_evict")[1] is not False,
            comment_every_s=find("keepalive_comments")[1],
            model_name=self._env.get(f"{prefix(name)}_MODEL") or None,
            access_log=self._root.access_log if access_log is None else access_log,
        )

    def _from_environment(self, name: str) -> dict[str, Any]:
        defaults: dict[str, Any] = {}
        for suffix, (field, low, high) in NUMBERS.items():
            variable = f"{prefix(name)}_{suffix}"
            if not (text := self._env.get(variable, "").strip()):
                continue
            whole = field == "max_tokens"
            plain = text.isascii() and text.replace(".", "", 0 if whole else 1).isdigit() and len(text) < 16
            number = Decimal(text) if plain else None
            if number is None or not low <= number <= high:
                self._document.positions[(variable,)] = SourcePosition("environment", None, variable)
                kind = "a whole number" if whole else "a number"
                self._document.problem((variable,), f"expected {kind} between {low} and {high}")
                continue
            defaults[field] = int(number) if whole else float(number)
        return defaults

    def _prompt(self, at: Path, prompt: SystemPromptConfig) -> PromptSpec:
        text = prompt.text
        if (text is None) == (prompt.file is None):
            if not self._document.tainted(at):
                self._document.problem(at, "needs either text or file")
            return PromptSpec(text="", mode=prompt.mode)
        if prompt.file is not None:
            text = self._read((*at, "file"), prompt.file)
        if not (text or "").strip() and not self._document.tainted(at):
            self._document.problem(at, "is empty")
        return PromptSpec(text=(text or "").strip(), mode=prompt.mode)

    def _read(self, at: Path, name: str) -> str:
        try:
            raw = read_bounded(self._file(name), _MAX_PROMPT_BYTES)
            if len(raw) <= _MAX_PROMPT_BYTES:
                return raw.decode("utf-8-sig")
            self._document.problem(at, f"is larger than {_MAX_PROMPT_BYTES // 1024} KiB")
        except OSError as error:
            self._document.problem(at, f"cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self._document.problem(at, "is not UTF-8 text")
        return ""


NUMBERS: Mapping[str, tuple[str, int, int]] = {
    "MAX_TOKENS": ("max_tokens", 1, 10**9),
    "TEMPERATURE": ("temperature", 0, 100),
    "TOP_P": ("top_p", 0, 1),
}
"""Defaults from the environment, by the variable's ending: field, lower bound, upper bound."""


def prefix(name: str) -> str:
    """The prefix of a route's variables: its name in capitals, with ``_`` for other characters."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name).upper()
