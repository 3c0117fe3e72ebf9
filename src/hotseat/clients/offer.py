"""What a launcher offers to its clients, and which of its models a client is best given.

Programs for programmers ask two models in turn, one to chat and one to complete at every keystroke. Where
the two do not fit on the GPU together they would swap all the time, so both jobs go to one model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SAFE_CONTEXT = 8192
"""Tokens of context to name where a program wants a number and none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A name that clients may ask for."""

    name: str
    model: str
    """What it leads to: two names of one model never swap."""
    footprint: Mapping[str, float]
    """Share of each GPU."""
    default: bool = False
    context: int | None = None
    """Tokens, prompt and answer together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Everything that a configuration is made of."""

    url: str
    """Without ``/v1`` and without a slash at its end."""
    offered: Sequence[Offered]
    """The one to chat with comes first."""
    completing: Offered
    """The one that completes while somebody types."""
    why: str
    """In a few words: why these two."""
    key: str | None = None
    """Written out; ``None``: by reference to the variable ``variable``."""
    variable: str = "VLLM_API_KEY"

    @property
    def chatting(self) -> Offered:
        """The one to chat with."""
        return self.offered[0]

    @property
    def v1(self) -> str:
        """The base URL of OpenAI's clients."""
        return f"{self.url}/v1"


class NotOffered(ValueError):
    """A name that is not there."""


def choose(
    url: str,
    offered: Sequence[Offered],
    budget: Mapping[str, float],
    *,
    coding: bool,
    chatting: str | None = None,
    completing: str | None = None,
    key: str | None = None,
) -> Choice:
    """Pick the models. ``coding``: for a program for programmers. Raises ``NotOffered``."""
    if not offered:
        raise NotOffered("there is no model")
    coders = [one for one in offered if "cod" in one.name.lower()]
    defaults = [one for one in offered if one.default]
    usual = [*(coders if coding else ()), *defaults, *offered][0]
    first = _find(offered, chatting) or usual
    second = _find(offered, completing) or (coders or [first])[0]
    fits = together(first, second, budget)
    if second.name == first.name:
        why = f"{first.name} does both, chat and autocomplete"
    elif fits:
        why = f"{second.name} completes: it fits beside {first.name}"
    else:
        why = f"{first.name} completes too: {second.name} does not fit beside it, and the two would swap"
        second = first
    return Choice(
        url=url,
        offered=[first, *(one for one in offered if one.name != first.name)],
        completing=second,
        why=why,
        key=key,
    )


def together(one: Offered, other: Offered, budget: Mapping[str, float]) -> bool:
    """Whether both may run at once."""
    if one.model == other.model:
        return True
    devices = {*one.footprint, *other.footprint}
    # Shares are read to a millionth, as the launcher keeps them.
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
    raise NotOffered(f"there is no {name!r} here; there are {', '.join(one.name for one in offered)}")
