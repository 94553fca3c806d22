"""An Auth that speaks httpx2, or was written for no library, is driven as one of httpx is."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import httpx2
import pytest

from proxy.credentials._foreign import ForeignScheme
from proxy.credentials._messages import adapted, library_of, overrides
from proxy.errors import CredentialError
from tests.credentials import strangers, strangers2
from tests.credentials.doubles import Bench, applied, body, build, content, draft, everything, values
from tests.doubles import Script, answer

CANARY = "canary-72"
ELSEWHERE = "https://login.test/token?x=1"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4, "stranger") as pool:
        yield pool


async def test_a_field_is_set_and_the_target_stays(threads: ThreadPoolExecutor) -> None:
    bench = Bench(ForeignScheme(strangers2.Plain("t"), threads), 401, answer(200, [], b"a", b"b"))
    response = await bench(draft(b'/base/%2f?a=|&"<{', "POST", content=body(b"abc", b"de")))
    assert await content(response) == b"ab"
    assert bench.sent("Authorization") == [b"t", b"again"]
    assert [each.extensions["target"] for each in bench.api.requests] == [b'/base/%2f?a=|&"<{'] * 2
    assert bench.api.bodies == [b"abcde"] * 2


async def test_every_response_is_fed_back_and_handed_on_all_the_same(threads: ThreadPoolExecutor) -> None:
    login = strangers2.Login(ELSEWHERE)
    elsewhere = Script(answer(200, [], b'{"tok', b'en": "t"}'))
    packed = gzip.compress(b"text")
    headers = [(b"Content-Encoding", b"gzip")]
    bench = Bench(ForeignScheme(login, threads), answer(200, headers, packed[:9], packed[9:]), elsewhere=elsewhere)
    response = await bench()
    assert [await content(response), await content(response)] == [packed] * 2
    assert login.seen == [(200, b'{"token": "t"}'), (200, b"text")]
    assert bench.sent("Authorization") == [b"t"]
    (sent,) = elsewhere.requests
    assert (str(sent.url), sent.method, elsewhere.bodies) == (ELSEWHERE, "POST", [b'{"user":"u"}'])
    assert "target" not in sent.extensions
    assert isinstance(sent, httpx.Request)


async def test_a_request_that_is_made_anew_is_what_is_sent(threads: ThreadPoolExecutor) -> None:
    bench = Bench(ForeignScheme(strangers2.Signs(), threads), 200)
    await bench(draft(b"/base/%2F?a=1", "POST", content=body(b"abc", b"de")))
    (sent,) = bench.api.requests
    assert (sent.method, sent.url.raw_path) == ("PUT", b"/base/%2F?a=1&sign=5-%2Fbase%2F%252F%3Fa%3D1")
    assert "target" not in sent.extensions
    assert bench.api.bodies == [b"abcde!"]


async def test_a_request_may_be_changed_in_every_way(threads: ThreadPoolExecutor) -> None:
    bench = Bench(ForeignScheme(strangers2.Changes(), threads), 200)
    await bench(draft(b"/base/x?a=1", "POST", content=body(b"abc")))
    (sent,) = bench.api.requests
    assert (sent.method, sent.url.raw_path, bench.api.bodies) == ("PUT", b"/base/x?a=1&key=k", [b"changed"])
    assert values(sent, "Content-Length") == [b"7"]


async def test_a_body_may_come_piece_by_piece(threads: ThreadPoolExecutor) -> None:
    bench = Bench(ForeignScheme(strangers2.Streams(), threads), 200)
    await bench()
    assert (bench.api.requests[0].url.path, bench.api.bodies) == ("/made", [b"ab"])


async def test_one_that_reads_by_itself_in_a_thread_may(threads: ThreadPoolExecutor) -> None:
    reads = strangers2.Reads()
    response = await Bench(ForeignScheme(reads, threads), answer(200, [], b"a", b"b"))()
    assert await content(response) == b"ab"
    assert reads.seen == [b"ab"] * 2


async def test_an_asynchronous_flow_stays_in_the_loop(threads: ThreadPoolExecutor) -> None:
    stranger = strangers2.Asynchronous()
    bench = Bench(ForeignScheme(stranger, threads), answer(401, [], b"no"), answer(200, [], b"yes"))
    assert await content(await bench()) == b"yes"
    assert (stranger.seen, bench.sent("Authorization")) == ([b"no"], [b"one", b"two"])
    assert threads._threads == set()


async def test_what_has_the_methods_needs_no_base_class(threads: ThreadPoolExecutor) -> None:
    elsewhere = Script(answer(200, [(b"X-Token", b"t")]))
    bench = Bench(ForeignScheme(strangers2.Duck(), threads), 200, elsewhere=elsewhere)
    assert (await bench()).status_code == 200
    assert bench.sent("Authorization") == [b"t"]
    bench = Bench(ForeignScheme(strangers2.DuckAsynchronous(), threads), 200)
    await bench(draft(method="POST", content=body(b"abc")))
    assert (bench.sent("Authorization"), bench.api.bodies) == ([b"3 bytes"], [b"abc"])


async def test_what_it_raises_comes_out_without_its_text(threads: ThreadPoolExecutor) -> None:
    bench = Bench(ForeignScheme(strangers2.Fails(CANARY), threads), answer(401, [], b"no"))
    assert await content(await bench()) == b"no"
    assert bench.story.failure == "renewal failed: the credential failed with KeyError"
    with pytest.raises(CredentialError, match="yields no request") as caught:
        await Bench(ForeignScheme(strangers2.Nothing(), threads))()
    assert CANARY not in everything(caught.value)


async def test_a_flow_that_is_left_is_closed(threads: ThreadPoolExecutor) -> None:
    bench = Bench(ForeignScheme(strangers2.Asynchronous(), threads), answer(200, [], b"x"))
    response = await bench()
    assert await content(response) == b"x"
    await asyncio.gather(*(Bench(ForeignScheme(strangers2.Plain("t"), threads), 200)() for _ in range(20)))


@pytest.mark.parametrize(
    ("kind", "own", "library"),
    [
        (strangers.Plain, False, httpx), (strangers.Asynchronous, True, httpx), (httpx.DigestAuth, False, httpx),
        (strangers2.Plain, False, httpx2), (strangers2.Asynchronous, True, httpx2), (httpx2.BasicAuth, False, httpx2),
        (strangers2.Duck, False, httpx), (strangers2.DuckAsynchronous, True, httpx),
    ],
)  # fmt: skip
def test_classes_are_told_apart(kind: type, own: bool, library: Any) -> None:
    assert (overrides(kind, "async_auth_flow"), library_of(kind)) == (own, library)


def test_one_of_httpx_is_left_as_it_is() -> None:
    auth = strangers.Plain("t")
    assert adapted(auth) is auth


async def test_the_type_takes_each_of_them() -> None:
    for name, arguments in (("Plain", {"token": "t"}), ("DuckAsynchronous", {})):
        scheme = build({"type": "python", "class": f"tests.credentials.strangers2:{name}", **arguments})
        assert values(await applied(scheme), "Authorization") in ([b"t"], [b"0 bytes"])
        await scheme.aclose()
