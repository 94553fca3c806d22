"""Events are counted, however their bytes are cut."""

from __future__ import annotations

import pytest

from bench.load.streams import Stream, Tally

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


EVENTS = (b": welcome\n\n", b"data: 0 1000\n\nda", b"ta: 1 2000\n\n", b"data: 2 3000\n\n", b"")
ANSWER = HEAD + b"".join(map(chunk, EVENTS))


@pytest.mark.parametrize("size", [1, 2, 7, len(ANSWER)])
async def test_all_events_are_seen(size: int) -> None:
    tally = Tally()
    stream = Stream("/events/3", tally)
    for start in range(0, len(ANSWER), size):
        stream.data_received(ANSWER[start : start + size])
    assert stream.received == len(tally.delays) == 3
    assert stream.opened.done()
    assert stream.done.done()


async def test_an_event_that_is_lost_is_not_made_up_for_by_the_next() -> None:
    stream = Stream("/events/3", Tally())
    stream.data_received(HEAD + chunk(b"data: 0 1000\n\n") + chunk(b"data: 2 3000\n\n"))
    assert stream.received == 1
    stream.connection_lost(None)
    assert stream.done.done()


def test_the_99th_percentile() -> None:
    assert Tally([float(number) for number in range(1000)]).p99 == 990.0
