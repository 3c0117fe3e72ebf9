"""What a route's policy does to a request's body: defaults, bounds, dropped fields, the system prompt.

Pure: a decoded body goes in, the one to send comes out. Every spelling of a field is known here, so
that nothing gets past a bound under another name, and where a system prompt cannot be imposed the
path is not served at all. Fields as in the OpenAI and Anthropic references, vLLM's and llama.cpp's
servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotseat.core.front import PolicySpec, PromptSpec
from hotseat.gateway.errors import Refuse, bad_request, not_found

_MAX_TOKENS = {
    b"/v1/chat/completions": "max_tokens",
    b"/v1/completions": "max_tokens",
    b"/v1/messages": "max_tokens",
    b"/v1/responses": "max_output_tokens",
    b"/completion": "n_predict",
    b"/infill": "n_predict",
}
"""Paths that generate text, and how each spells the most tokens to generate."""

_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict"),
    "n": ("n", "best_of", "n_cmpl"),
}
"""Other names of a field; bounding, dropping or defaulting one means all of them."""

_HARMLESS = (
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
)
"""Paths that generate nothing, so that no system prompt is missing there."""

_SYSTEM = frozenset({"system", "developer"})
_TEMPLATES = ("chat_template", "chat_template_kwargs", "prompt_embeds", "continue_final_message")
"""Fields by which a client could put its own words before ours; removed where a prompt replaces them."""


def serves(policy: PolicySpec, path: bytes) -> bool:
    """Whether this path may be served under the policy: with a prompt, only where it can be imposed."""
    if policy.prompt is None:
        return True
    return path != b"/infill" and (path in _MAX_TOKENS or path in _HARMLESS)


def apply(policy: PolicySpec, path: bytes, body: dict[str, Any]) -> dict[str, Any]:
    """The body as the model's server gets it. Raises ``Refuse`` (400) for what cannot be judged."""
    if not serves(policy, path):
        raise not_found("this path is not served here: its system prompt could be passed by")
    body = dict(body)
    for name in policy.drop:
        for spelling in _SPELLINGS.get(name, (name,)):
            body.pop(spelling, None)
    if path in _MAX_TOKENS:
        _fill(policy, path, body)
    for name, bound in policy.clamp.items():
        _clamp(name, bound, path, body)
    if policy.prompt is not None and path in _MAX_TOKENS:
        _impose(policy.prompt, path, body)
    return body


def _fill(policy: PolicySpec, path: bytes, body: dict[str, Any]) -> None:
    for name, value in policy.defaults.items():
        spellings = _SPELLINGS.get(name, (name,))
        if all(body.get(spelling) is None for spelling in spellings):
            for spelling in spellings:  # an explicit null is no value
                body.pop(spelling, None)
            body[_MAX_TOKENS[path] if name == "max_tokens" else name] = value


def _clamp(name: str, bound: float, path: bytes, body: dict[str, Any]) -> None:
    limit = int(bound) if float(bound).is_integer() else bound
    given = False
    for spelling in _SPELLINGS.get(name, (name,)):
        value = body.get(spelling)
        if value is None:
            body.pop(spelling, None)
            continue
        given = True
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise bad_request(f"{spelling} must be a number", param=spelling)
        if value > bound or (name == "max_tokens" and value < 0):  # llama.cpp: negative is without end
            body[spelling] = limit
    if not given and name == "max_tokens" and path in _MAX_TOKENS:
        body[_MAX_TOKENS[path]] = limit  # saying nothing asks for as much as there is


def _impose(prompt: PromptSpec, path: bytes, body: dict[str, Any]) -> None:
    if prompt.mode == "replace":
        for name in _TEMPLATES:
            body.pop(name, None)
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


def _kept(prompt: PromptSpec, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The client's messages: all of them, or without those that speak as the system."""
    kept = []
    for message in messages:
        role = message.get("role", "")
        if not isinstance(role, str):
            raise bad_request("role must be a string", param="role")
        if prompt.mode == "prepend" or role.strip().lower() not in _SYSTEM:
            kept.append(message)
    return kept


def _prefixed(prompt: PromptSpec, given: Any) -> Any:
    if isinstance(given, str):
        return f"{prompt.text}\n\n{given}"
    if isinstance(given, list) and given and all(isinstance(one, str) for one in given):
        return [f"{prompt.text}\n\n{one}" for one in given]
    raise _NO_TEXT


_NO_TEXT: Refuse = bad_request("prompt must be text here: a string or a list of strings", param="prompt")
