"""One run with several replicas: each request goes where the fewest are."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from hotseat.core.views import Upstream
from hotseat.gateway.http.upstream import ConnectionPool, UpstreamConnection, UpstreamPools


class Replica:
    """A server that takes connections and says nothing."""

    def __init__(self) -> None:
        self.connections = 0

    async def __aenter__(self) -> Replica:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = ("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.read()
        writer.close()


def upstream(*replicas: Replica, run: int = 1) -> Upstream:
    host, port = replicas[0].address
    addresses = tuple(one.address for one in replicas) if len(replicas) > 1 else ()
    return Upstream(model="chat", run=run, host=host, port=port, replicas=addresses)


async def use(pools: UpstreamPools, where: Upstream) -> tuple[ConnectionPool, UpstreamConnection]:
    pool = pools.pool(where)
    return pool, pool.take() or await pool.connect()


def test_requests_are_spread_evenly_and_follow_those_that_end() -> None:
    async def story() -> None:
        async with Replica() as one, Replica() as two, Replica() as three:
            pools, where = UpstreamPools(), upstream(one, two, three)
            used = await asyncio.gather(*(use(pools, where) for _ in range(9)))
            assert set(Counter(pool.upstream.port for pool, _ in used).values()) == {3}
            # One replica answers all of its requests: the next three go there, on the kept connections.
            free = [(pool, wire) for pool, wire in used if pool.upstream.port == two.address[1]]
            for pool, wire in free:
                pool.release(wire)
            assert pools.idle() == {"chat": 3}
            again = [await use(pools, where) for _ in range(3)]
            assert {pool.upstream.port for pool, _ in again} == {two.address[1]}
            assert two.connections == 3
            pools.close()

    asyncio.run(story())


def test_a_replica_that_goes_gets_no_more_and_a_new_one_gets_its_share() -> None:
    async def story() -> None:
        async with Replica() as one, Replica() as two, Replica() as three:
            pools = UpstreamPools()
            await use(pools, upstream(one, two))
            await use(pools, upstream(one, two))
            changed = upstream(two, three)
            chosen = [(await use(pools, changed))[0].upstream.port for _ in range(3)]
            assert chosen.count(three.address[1]) == 2
            assert one.address[1] not in chosen
            pools.close()

    asyncio.run(story())


def test_a_newer_run_replaces_all_replicas() -> None:
    async def story() -> None:
        async with Replica() as one, Replica() as two:
            pools = UpstreamPools()
            pool, wire = await use(pools, upstream(one, two))
            pool.release(wire)
            newer, _ = await use(pools, upstream(one, run=2))
            assert newer.upstream == replace(upstream(one), run=2)
            pools.drop("chat", 1)
            assert pools.pool(upstream(one, run=2)) is newer
            pools.drop("chat", 2)
            assert pools.idle() == {}

    asyncio.run(story())


def test_one_address_is_served_by_the_pool_of_the_run() -> None:
    async def story() -> None:
        async with Replica() as one:
            pools = UpstreamPools()
            where = upstream(one)
            assert pools.pool(where) is pools.pool(where)
            assert type(pools.pool(where)) is ConnectionPool
            pools.close()

    asyncio.run(story())
