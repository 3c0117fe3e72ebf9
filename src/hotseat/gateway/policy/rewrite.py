"""Rewrites a request's body as a route's policy says: defaults, bounds, dropped fields, the system prompt.

Pure: a decoded body goes in, the one to send comes out. All spellings of a field are treated alike, so
nothing gets past a bound under another name, and where a system prompt cannot be imposed the path is not
served at all. Names that differ from a restricted one in case alone are refused: some servers (with Go's
parser) take them for the same. The fields are those of the OpenAI and Anthropic references and of vLLM's
and llama.cpp's servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from hotseat.core.access_spec import PolicySpec, PromptSpec
from hotseat.gateway.http.errors import bad_request, not_found
from hotseat.gateway.policy.known_fields import KNOWN_FIELDS, KNOWN_MESSAGE_FIELDS

_MAX_TOKENS = {
    b"/v1/chat/completions": "max_tokens",
    b"/v1/chat/completions/batch": "max_tokens",
    b"/v1/completions": "max_tokens",
    b"/v1/messages": "max_tokens",
    b"/v1/responses": "max_output_tokens",
    b"/completion": "n_predict",
    b"/infill": "n_predict",
}
"""Paths that generate text, and each one's name for the maximum number of tokens to generate."""

_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict", "max_new_tokens"),
    "n": ("n", "best_of", "n_cmpl"),
    "repetition_penalty": ("repetition_penalty", "repeat_penalty"),
    "logprobs": ("logprobs", "top_logprobs", "n_probs"),
}
"""Other names of a field; a bound, a drop or a default of one applies to all of them."""
_FAMILY = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}

_NO_PROMPT = frozenset({b"/infill", b"/v1/chat/completions/batch"})
"""Generating paths on which a system prompt cannot be imposed."""

_SIGNED = frozenset({"presence_penalty", "frequency_penalty", "temperature", "seed", "logit_bias"})
"""Fields whose negative values are plain numbers; elsewhere they mean *unlimited*."""
_ZERO_IS_UNLIMITED = frozenset({"top_k"})

_NOT_GENERATING = frozenset(
    {
        b"/v1/embeddings",
        b"/v1/models",
        b"/v1/rerank",
        b"/v1/score",
        b"/v1/messages/count_tokens",
        b"/tokenize",
        b"/detokenize",
        b"/rerank",
        b"/score",
        b"/classify",
        b"/pooling",
    }
)
"""Paths that generate no text, and need no system prompt."""

_SYSTEM = frozenset({"system", "developer"})
_ROLES = frozenset({"user", "assistant", "tool", "function"})
"""Roles that are allowed beside a replaced system prompt: templates render any other word as it is."""
_TEMPLATES = (
    "chat_template",
    "chat_template_kwargs",
    "prompt_embeds",
    "continue_final_message",
    "system_prompt",
)
"""Fields by which a client could put text before the system prompt, or leave it out; removed."""
_PROMPT_FIELDS = ("messages", "system", "instructions", "input", "prompt", "role", *_TEMPLATES)


class RewriteRules:
    """One policy, prepared for the hot path."""

    __slots__ = (
        "_allowed",
        "_clamp",
        "_defaults",
        "_drop",
        "_gives_all",
        "_removed",
        "_restricted",
        "bounds",
        "prompt",
    )

    def __init__(self, policy: PolicySpec) -> None:
        self.prompt = policy.prompt
        self.bounds = bool(policy.clamp or policy.drop or policy.prompt)
        """Whether the policy restricts clients: then a body is always encoded anew, so that no duplicate of a
        field is left for the server to choose.
        """
        self._defaults = [(_family(name), name, value) for name, value in policy.defaults.items()]
        self._clamp = [
            (_family(name), int(bound) if float(bound).is_integer() else bound)
            for name, bound in policy.clamp.items()
        ]
        self._drop = [spelling for name in policy.drop for spelling in _spellings(_family(name))]
        restricted = {*self._drop, *(_PROMPT_FIELDS if policy.prompt else ())}
        for name in (*policy.defaults, *policy.clamp):
            restricted.update(_spellings(_family(name)))
        self._restricted = frozenset(restricted)
        self._allowed: frozenset[str] | None = None
        """Fields that pass in addition to the known ones; ``None``: every field passes."""
        if policy.clamp or policy.prompt:
            named = {*policy.defaults, *policy.clamp}
            spelled = (spelling for name in named for spelling in _spellings(_family(name)))
            self._allowed = frozenset((*policy.allow_fields, *spelled))
        self._removed = tuple(name for name in (*_TEMPLATES, "suffix") if name not in policy.allow_fields)
        """Fields that undo a system prompt, unless the operator allows them. A server builds another prompt
        around ``suffix``, of which the operator's is no longer the beginning.
        """
        self._gives_all = None if self.bounds else _field_check({family for family, _, _ in self._defaults})

    def serves(self, path: bytes) -> bool:
        """Whether this path may be served: with a system prompt, only where it can be imposed.

        Never a path that a server might take for one that generates text, and the gateway does not.
        """
        if path not in _MAX_TOKENS and path.rstrip(b"/").lower() in _MAX_TOKENS:
            return False
        return (
            self.prompt is None or path in _NOT_GENERATING or (path in _MAX_TOKENS and path not in _NO_PROMPT)
        )

    def knows(self, name: str) -> bool:
        """Whether the policy depends on the value of this field."""
        return name in self._restricted

    def changes_nothing(self, content: bytes) -> bool:
        """Whether there are only defaults, all given by this JSON object; false where that is not certain."""
        return self._gives_all is not None and self._gives_all(content)

    def check_path(self, path: bytes) -> None:
        """Raise ``RequestRefused`` (404) for a path that may not be served."""
        if not self.serves(path):
            raise not_found("this path is not served here: the route's policy cannot be applied to it")

    def check_form(self, path: bytes, names: Iterable[str]) -> None:
        """Raise ``RequestRefused`` (400) for a form that the policy would change: forms are not rewritten."""
        if path in _MAX_TOKENS:
            raise bad_request("send JSON here, not a form", code="invalid_form")
        for name in names:
            if name.casefold() in self._restricted:
                raise bad_request(f"{name[:100]} is not accepted in a form here", param=name[:100])

    def _keep_known(self, path: bytes, body: dict[str, Any]) -> None:
        """Remove fields that are not known to be safe, where the policy imposes something."""
        known = KNOWN_FIELDS.get(path)
        if self._allowed is None or known is None:
            return
        for name in [name for name in body if name not in known and name not in self._allowed]:
            del body[name]

    def apply(self, path: bytes, body: dict[str, Any]) -> dict[str, Any]:
        """The body as the model's server gets it.

        Raises ``RequestRefused`` (400, 404) for a body to which the policy cannot be applied.
        """
        self.check_path(path)
        _check_names(body, self._restricted)
        self._keep_known(path, body)
        for name in self._drop:
            body.pop(name, None)
        generates = path in _MAX_TOKENS
        if generates:
            for family, name, value in self._defaults:
                _fill(family, name, value, path, body)
        for family, bound in self._clamp:
            _clamp(family, bound, path if generates else None, body)
        if self.prompt is not None and generates:
            for name in self._removed:
                body.pop(name, None)
            _impose(self.prompt, path, body)
        return body


def _family(name: str) -> str:
    return _FAMILY.get(name, name)


def _spellings(family: str) -> tuple[str, ...]:
    return _SPELLINGS.get(family, (family,))


def _field_check(families: Iterable[str]) -> Callable[[bytes], bool]:
    """A check that a JSON object gives each of these fields, in any spelling; takes a single parse."""
    spelled = [_spellings(family) for family in families]
    names = {f"f{n}": name for n, name in enumerate(name for group in spelled for name in group)}
    try:
        kind = msgspec.defstruct("Given", [(field, Any, None) for field in names], rename=names.get)
    except ValueError:  # a name with quotes or the like is not worth a parser of its own
        return lambda content: False
    decode = msgspec.json.Decoder(kind).decode
    found = iter(names)
    wanted = [tuple(next(found) for _ in group) for group in spelled]
    alone = [group[0] for group in wanted if len(group) == 1]
    several = [group for group in wanted if len(group) > 1]

    def gives_all(content: bytes) -> bool:
        try:
            given = decode(content)
        except (msgspec.DecodeError, RecursionError):
            return False
        for field in alone:
            if getattr(given, field) is None:
                return False
        return all(any(getattr(given, field) is not None for field in group) for group in several)

    return gives_all


def _check_names(fields: Mapping[str, Any], known: frozenset[str]) -> None:
    for name in fields:
        if name.islower() and name.isascii():
            continue
        folded = name.casefold()
        if folded != name and folded in known:
            raise bad_request(f"write {folded} in lower case", param=name[:100])


def _fill(family: str, name: str, value: Any, path: bytes, body: dict[str, Any]) -> None:
    spellings = _spellings(family)
    if any(body.get(spelling) is not None for spelling in spellings):
        return
    for spelling in spellings:  # an explicit null is no value
        body.pop(spelling, None)
    body[_MAX_TOKENS[path] if family == "max_tokens" else name] = value


def _clamp(family: str, bound: float, path: bytes | None, body: dict[str, Any]) -> None:
    """Apply an upper bound; ``path`` is ``None`` where no text is generated."""
    given = False
    for spelling in _spellings(family):
        value = body.get(spelling)
        if value is None:
            body.pop(spelling, None)
            continue
        if value is True or value is False:
            if family == "logprobs":  # a switch in chat completions; the number is top_logprobs
                continue
            raise bad_request(f"{spelling} must be a number", param=spelling)
        if not isinstance(value, int | float):
            raise bad_request(f"{spelling} must be a number", param=spelling)
        given = True
        unlimited = value < 0 and family not in _SIGNED
        if value > bound or unlimited or (value == 0 and family in _ZERO_IS_UNLIMITED):
            body[spelling] = bound
    if not given and family == "max_tokens" and path is not None:
        body[_MAX_TOKENS[path]] = bound  # without a value the server generates as much as it can


def _impose(prompt: PromptSpec, path: bytes, body: dict[str, Any]) -> None:
    if path == b"/v1/chat/completions":
        messages = _messages(body, "messages")
        body["messages"] = [{"role": "system", "content": prompt.text}, *_kept(prompt, messages)]
    elif path == b"/v1/messages":
        _impose_anthropic(prompt, body)
    elif path == b"/v1/responses":
        _impose_responses(prompt, body)
    else:
        body["prompt"] = _prefixed(prompt, body.get("prompt"))


def _impose_anthropic(prompt: PromptSpec, body: dict[str, Any]) -> None:
    if "messages" in body:
        body["messages"] = _kept(prompt, _messages(body, "messages"))
    own = body.get("system")
    if prompt.mode == "replace" or own is None:
        body["system"] = prompt.text
    elif isinstance(own, str):
        body["system"] = f"{prompt.text}\n\n{own}"
    elif isinstance(own, list):
        body["system"] = [{"type": "text", "text": prompt.text}, *own]
    else:
        raise bad_request("system must be a string or a list of blocks", param="system")


def _impose_responses(prompt: PromptSpec, body: dict[str, Any]) -> None:
    own = body.get("instructions")
    if own is not None and not isinstance(own, str):
        raise bad_request("instructions must be a string", param="instructions")
    if prompt.mode == "replace":
        body.pop("prompt", None)  # a stored prompt may hold a system message
    body["instructions"] = prompt.text if prompt.mode == "replace" or not own else f"{prompt.text}\n\n{own}"
    given = body.get("input")
    if given is None or isinstance(given, str):
        return
    body["input"] = _kept(prompt, _messages(body, "input"))


def _messages(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    given = body.get(name, [])
    if not isinstance(given, list) or not all(isinstance(message, dict) for message in given):
        raise bad_request(f"{name} must be a list of objects", param=name)
    return given


_ROLE = frozenset({"role"})


def _kept(prompt: PromptSpec, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The client's messages: all of them, or without those of the system."""
    for message in messages:
        _check_names(message, _ROLE)
        for name in [name for name in message if name not in KNOWN_MESSAGE_FIELDS]:
            del message[name]
    if prompt.mode == "prepend":
        return messages
    kept = []
    for message in messages:
        role = message.get("role", "user")
        if not isinstance(role, str):
            raise bad_request("role must be a string", param="role")
        if role in _ROLES:
            kept.append(message)
        elif role.strip().casefold() not in _SYSTEM:
            raise bad_request("role must be user, assistant, tool or function here", param="role")
    return kept


def _prefixed(prompt: PromptSpec, given: Any) -> Any:
    if isinstance(given, str):
        return f"{prompt.text}\n\n{given}"
    if isinstance(given, list) and given and all(isinstance(one, str) for one in given):
        return [f"{prompt.text}\n\n{one}" for one in given]
    raise bad_request("prompt must be text here: a string or a list of strings", param="prompt")
