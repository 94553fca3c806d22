from __future__ import annotations

import asyncio

from proxy.stores import Token
from proxy.stores.memory import MemoryStore


async def test_two_of_them_share_nothing() -> None:
    one, other = MemoryStore(), MemoryStore()
    await one.save("a", Token("t", None))
    assert await other.load("a") is None
    async with asyncio.timeout(5), one.lock("a"), other.lock("a"):
        pass


def test_it_outlives_an_event_loop() -> None:
    store = MemoryStore()

    async def contend() -> None:
        async def enter() -> None:
            async with store.lock("a"):
                await asyncio.sleep(0)

        await asyncio.gather(enter(), enter())

    asyncio.run(contend())
    asyncio.run(contend())
