"""Leader election among several launchers, by a Lease as Kubernetes' own components do it."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from datetime import UTC, datetime

import structlog

from hotseat.runtimes.kubernetes.api import Cluster, LeaseRecord
from hotseat.runtimes.kubernetes.errors import ClusterError, ClusterUnavailable

log = structlog.get_logger("hotseat")

DURATION_S = 10
"""A holder that has not renewed the Lease for so long has lost it to whoever takes it."""
RENEW_EVERY_S = 2.0
ATTEMPT_EVERY_S = 1.0


class LeaseElection:
    """This launcher's part in the election.

    Times of other launchers are never compared with our clock: a Lease has expired when it has not changed
    for ``DURATION_S`` while we looked. While the API server is away nobody can take the Lease, so the
    leader goes on serving; it steps down when it sees that somebody else has it.
    """

    def __init__(self, name: str, cluster: Cluster | None = None, identity: str | None = None) -> None:
        """``cluster``: made from the environment when it is first needed."""
        self.name = name
        self.identity = (
            identity or f"{os.environ.get('POD_NAME') or socket.gethostname()}_{secrets.token_hex(4)}"
        )
        self._cluster = cluster
        self._seen: LeaseRecord | None = None
        self._seen_at = 0.0
        self._why = ""

    async def acquire(self) -> None:
        """Return when this launcher leads."""
        while not await self._attempt():  # noqa: ASYNC110 (others write it)
            await asyncio.sleep(ATTEMPT_EVERY_S)
        log.info("leading", lease=self.name, identity=self.identity)

    async def lost(self) -> None:
        """Renew the Lease; return when another launcher has it."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            await self._attempt()
            if self._seen is not None and self._seen.holder not in ("", self.identity):
                log.error("another launcher leads", lease=self.name, leader=self._seen.holder)
                return

    async def release(self) -> None:
        """Give the Lease up, so that a standby need not wait for it to expire."""
        seen = self._seen
        if seen is not None and seen.holder == self.identity and self._cluster is not None:
            try:
                await self._cluster.write_lease(self._record("", seen), self._cluster.namespace)
            except (ClusterError, ClusterUnavailable) as error:
                log.warning("the lease was not given up, and will expire", lease=self.name, why=str(error))

    async def close(self) -> None:
        """Disconnect."""
        if self._cluster is not None:
            await self._cluster.close()

    async def _attempt(self) -> bool:
        """Take or renew the Lease where that is allowed; whether it is ours now."""
        try:
            if self._cluster is None:
                self._cluster = Cluster()
            return await self._take(self._cluster)
        except (ClusterError, ClusterUnavailable) as error:
            if str(error) != self._why:
                self._why = str(error)
                log.warning("the lease cannot be read or written", lease=self.name, why=self._why)
            return False

    async def _take(self, cluster: Cluster) -> bool:
        found = await cluster.read_lease(self.name, cluster.namespace)
        if found is None:
            self._note(await cluster.create_lease(self._record(self.identity, None), cluster.namespace))
            return True
        self._note(found)
        if found.holder not in ("", self.identity) and time.monotonic() - self._seen_at < DURATION_S:
            return False
        try:
            self._note(await cluster.write_lease(self._record(self.identity, found), cluster.namespace))
        except ClusterError as error:
            if error.code == 409:  # another launcher was first
                return False
            raise
        self._why = ""
        return True

    def _note(self, found: LeaseRecord) -> None:
        if self._seen is None or (found.holder, found.renewed) != (self._seen.holder, self._seen.renewed):
            self._seen_at = time.monotonic()
        self._seen = found

    def _record(self, holder: str, before: LeaseRecord | None) -> LeaseRecord:
        now = datetime.now(UTC)
        takes = before is None or before.holder != holder
        return LeaseRecord(
            name=self.name,
            holder=holder,
            renewed=now,
            acquired=now if before is None or takes else before.acquired,
            duration_s=DURATION_S,
            transitions=0 if before is None else before.transitions + takes,
            version=None if before is None else before.version,
        )
