"""The clients' key in ``.env``: replaced, with the old one valid for a while, and its age.

In the file, read by whoever checks keys: ``VLLM_API_KEY`` (valid), ``VLLM_API_KEY_SINCE`` (when it was
made), ``VLLM_API_KEY_OLD`` and ``VLLM_API_KEY_OLD_UNTIL`` (valid until that moment, then not). Moments
are ISO 8601 in UTC.
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
    """A ``.env`` whose keys cannot be rotated: why, and what to do."""


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """The text with the new key, and what to say of it."""

    text: str
    key: str
    old_until: datetime | None
    """``None``: the old key ends now."""
    kept_upstream: bool
    """The containers had no key of their own: the old one was written down as theirs."""


def rotate(text: str, now: datetime, grace: timedelta) -> KeyRotation:
    """Replace the clients' key; the containers keep the one that they were started with.

    Raises ``KeyFileError`` and ``EnvFileError``.
    """
    values = parse(text, {})
    old = values.get(CLIENT)
    if not old:
        raise KeyFileError(f"there is no {CLIENT} to rotate: run hotseat init, or write one")
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
            f"the old {CLIENT} has characters that need quotes: replace it by hand once"
        ) from None


def moment(text: str) -> datetime | None:
    """A moment of the file; ``None`` where it is none."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def age(values: Mapping[str, str], now: datetime) -> timedelta | None:
    """How old the clients' key is; ``None`` where the file does not say."""
    since = moment(values.get(SINCE, ""))
    return now - since if since else None
