"""Rotation and age of the clients' key in ``.env``.

Variables: ``VLLM_API_KEY`` is the key, ``VLLM_API_KEY_SINCE`` when it was created; ``VLLM_API_KEY_OLD`` is
the previous one, valid until ``VLLM_API_KEY_OLD_UNTIL``. Times are ISO 8601 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hotseat.envfile.syntax import assign, parse
from hotseat.stack.env_template import new_key, stamp

CLIENT, SINCE = "VLLM_API_KEY", "VLLM_API_KEY_SINCE"
OLD, OLD_UNTIL = "VLLM_API_KEY_OLD", "VLLM_API_KEY_OLD_UNTIL"
UPSTREAM = "UPSTREAM_API_KEY"
QUARTER = timedelta(days=92)


class KeyFileError(Exception):
    """The keys of a ``.env`` cannot be rotated: the reason, and what to do."""


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """The new text of ``.env``, and what has changed."""

    text: str
    key: str
    old_until: datetime | None
    """When the old key expires; ``None``: at once."""
    kept_upstream: bool
    """Whether the containers had no key of their own, so that they keep the old one as theirs."""


def rotate(text: str, now: datetime, grace: timedelta) -> KeyRotation:
    """Replace the clients' key; the containers keep the key that they were started with.

    ``grace`` is how long the old key stays valid. Raises ``KeyFileError`` and ``EnvFileError``.
    """
    values = parse(text, {})
    old = values.get(CLIENT)
    if not old:
        raise KeyFileError(f"there is no {CLIENT} to rotate; run hotseat init, or add one")
    key = new_key()
    until = now + grace if grace else None
    changes: dict[str, str | None] = {CLIENT: key, SINCE: stamp(now), OLD: None, OLD_UNTIL: None}
    if until:
        changes |= {OLD: old, OLD_UNTIL: stamp(until)}
    keep = not values.get(UPSTREAM)
    if keep:
        changes[UPSTREAM] = old
    try:
        return KeyRotation(assign(text, changes), key, until, keep)
    except ValueError:
        raise KeyFileError(
            f"the old {CLIENT} contains characters that need quotes; replace it by hand"
        ) from None


def moment(text: str) -> datetime | None:
    """Parse a time from the file; ``None`` if it is invalid."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def age(values: Mapping[str, str], now: datetime) -> timedelta | None:
    """The age of the clients' key; ``None`` if the file does not say when it was created."""
    since = moment(values.get(SINCE, ""))
    return now - since if since else None
