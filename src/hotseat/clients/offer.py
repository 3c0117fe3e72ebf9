"""The models that a launcher offers to its clients, and the choice between them for one program.

Coding tools send requests to two models in turn: one for chat, one to complete at every keystroke. If the two
do not fit on the GPU together, they would evict each other all the time, so one model does both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SAFE_CONTEXT = 8192
"""Context length, in tokens, for programs that require one when it is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A name that clients may ask for."""

    name: str
    model: str
    """The model behind the name: two names of one model never evict each other."""
    footprint: Mapping[str, float]
    """Share of each GPU's memory, by device."""
    default: bool = False
    capabilities: Sequence[str] = ()
    """What the model can do (``engines.abilities.CAPABILITIES``); empty: unknown."""
    context: int | None = None
    """Context length in tokens, prompt and answer together; ``None``: unknown."""

    @property
    def can_chat(self) -> bool:
        """Whether the model may be offered for chat: models for embeddings or audio are not."""
        return not self.capabilities or "chat" in self.capabilities


NO_KEY = "no-key-needed"
"""What programs that insist on a key send to a launcher that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Everything that goes into a program's configuration."""

    url: str
    """Without ``/v1`` and without a slash at the end."""
    offered: Sequence[Offered]
    """The model for chat comes first."""
    autocomplete: Offered
    """The model that completes while somebody types."""
    why: str
    """Why these two, in a few words."""
    key: str | None = None
    """The key itself (``NO_KEY``: none is needed); ``None``: a reference to the environment variable
    ``variable``."""
    variable: str = "VLLM_API_KEY"

    @property
    def chat(self) -> Offered:
        """The model for chat."""
        return self.offered[0]

    @property
    def chats(self) -> Sequence[Offered]:
        """The models that can chat."""
        return [one for one in self.offered if one.can_chat]

    @property
    def all_chat(self) -> bool:
        """Whether all offered models can chat."""
        return len(self.chats) == len(self.offered)

    @property
    def v1(self) -> str:
        """The base URL for OpenAI's clients."""
        return f"{self.url}/v1"


class NotOffered(ValueError):
    """A model was named that the launcher does not offer."""


def choose(
    url: str,
    offered: Sequence[Offered],
    budget: Mapping[str, float],
    *,
    coding: bool,
    chat: str | None = None,
    autocomplete: str | None = None,
    key: str | None = None,
    variable: str = "VLLM_API_KEY",
) -> Choice:
    """Choose the models for a program; ``chat`` and ``autocomplete`` override the choice by name.

    ``coding``: the program is a coding tool. Raises ``NotOffered``.
    """
    if not offered:
        raise NotOffered("the launcher has no model")
    chats = [one for one in offered if one.can_chat]
    if not chats and chat is None:
        raise NotOffered("no model of the launcher can chat")
    coders = [one for one in chats if "cod" in one.name.lower()]
    defaults = [one for one in chats if one.default]
    usual = [*(coders if coding else ()), *defaults, *chats, *offered][0]
    first = _find(offered, chat) or usual
    second = _find(offered, autocomplete) or (coders or [first])[0]
    fits = together(first, second, budget)
    if second.name == first.name:
        why = f"{first.name} does both chat and autocomplete"
    elif fits:
        why = f"{second.name} does autocomplete: it fits on the GPU together with {first.name}"
    else:
        why = f"{first.name} does autocomplete too: {second.name} does not fit on the GPU together with it"
        second = first
    return Choice(
        url=url,
        offered=[first, *(one for one in offered if one.name != first.name)],
        autocomplete=second,
        why=why,
        key=key,
        variable=variable,
    )


def together(one: Offered, other: Offered, budget: Mapping[str, float]) -> bool:
    """Whether both fit into the budget at once."""
    if one.model == other.model:
        return True
    devices = {*one.footprint, *other.footprint}
    # Compared in millionths, as the launcher does.
    return all(
        round((one.footprint.get(device, 0.0) + other.footprint.get(device, 0.0)) * 1e6)
        <= round(budget.get(device, 0.0) * 1e6)
        for device in devices
    )


def _find(offered: Sequence[Offered], name: str | None) -> Offered | None:
    if name is None:
        return None
    for one in offered:
        if one.name == name:
            return one
    raise NotOffered(f"no model is called {name!r}; there are {', '.join(one.name for one in offered)}")
