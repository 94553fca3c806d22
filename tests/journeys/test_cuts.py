"""An API that dies in the middle of its answer, early, half-way and late: the client always sees that it did."""

from __future__ import annotations

import asyncio

import pytest

from tests.journeys.conftest import Build
from tests.journeys.wires import Api, curl
from tests.relay import End, Fate, Fates, Relay

SIZE = 1 << 20
BODY = b"0123456789abcdef" * (SIZE // 16)
PIECE = 1 << 13
FRAMINGS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + BODY,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%b\r\n" % (PIECE, BODY[at : at + PIECE]) for at in range(0, SIZE, PIECE))
    + b"0\r\n\r\n",
    "connection": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY,
}
ENDS: tuple[End, ...] = ("close", "reset")
# What ends with its connection may end anywhere: nobody can know that more was to come.
CUTS = [(framing, end) for framing in FRAMINGS for end in ENDS if (framing, end) != ("connection", "close")]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize(("framing", "end"), CUTS)
async def test_curl_never_takes_it_for_complete(build: Build, framing: str, end: End, share: float) -> None:
    answer = FRAMINGS[framing]
    async with Api() as api, Relay(api.port, Fates(down=Fate(after=round(len(answer) * share), end=end))) as relay:
        api.always = answer
        house = await build(upstream=relay.url, retry={"attempts": 1})
        for version in ("--http1.1", "--http1.0"):
            code, out = await curl(house.proxy.url + "/x", version)
            assert code in (18, 52, 56), (version, len(out))
            assert BODY.startswith(out)
        async with asyncio.timeout(5):
            while house.proxy.lines.count('"complete": false') < 2:
                await asyncio.sleep(0.01)
