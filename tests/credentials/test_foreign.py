from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from proxy.credentials import _foreign as module
from proxy.credentials._foreign import ForeignScheme, TargetURL
from proxy.errors import BodyTooLarge, CredentialError, ResponseIncomplete
from proxy.gateway.body import LimitSettings
from tests.credentials.doubles import URL, Bench, body, content, draft, everything, request
from tests.credentials.strangers import (
    Asynchronous,
    Exits,
    Fails,
    Login,
    Nothing,
    NothingEither,
    Plain,
    Reads,
    Signs,
    Slow,
    Stubborn,
    StubbornToo,
)
from tests.credentials.strangers import (
    Pieces as Pieced,
)
from tests.doubles import Pieces, Script, answer, settle

CANARY = "canary-71"
ELSEWHERE = "https://login.test/token?x=1"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4, "stranger") as pool:
        yield pool


@pytest.fixture(params=["loop", "threads"])
def where(request: pytest.FixtureRequest) -> ThreadPoolExecutor | None:
    return None if request.param == "loop" else request.getfixturevalue("threads")


async def test_a_field_is_set_and_the_target_stays(where: ThreadPoolExecutor | None) -> None:
    bench = Bench(ForeignScheme(Plain("t"), where), answer(200, [], b"a", b"b"))
    response = await bench(draft(b'/base/%2f?a=|&"<{'))
    assert await content(response) == b"ab"
    assert bench.sent("Authorization") == [b"t"]
    assert bench.api.requests[0].extensions["target"] == b'/base/%2f?a=|&"<{'


async def test_every_answer_is_fed_back_and_handed_on_all_the_same(where: ThreadPoolExecutor | None) -> None:
    login = Login(ELSEWHERE)
    elsewhere = Script(answer(200, [], b'{"tok', b'en": "t"}'))
    bench = Bench(ForeignScheme(login, where), answer(200, [], b"a", b"b"), elsewhere=elsewhere)
    response = await bench()
    assert [await content(response), await content(response)] == [b"ab"] * 2
    assert login.seen == [(200, b'{"token": "t"}'), (200, b"ab")]
    assert bench.sent("Authorization") == [b"t"]


async def test_a_request_elsewhere_goes_there_as_it_is(where: ThreadPoolExecutor | None) -> None:
    elsewhere = Script(answer(200, [], b'{"token": "t"}'))
    await Bench(ForeignScheme(Login(ELSEWHERE), where), 200, elsewhere=elsewhere)()
    (sent,) = elsewhere.requests
    assert (str(sent.url), sent.method, elsewhere.bodies) == (ELSEWHERE, "POST", [b'{"user":"u"}'])
    assert "target" not in sent.extensions
    assert "authorization" not in sent.headers


async def test_a_login_at_the_api_itself_goes_to_its_own_path() -> None:
    bench = Bench(ForeignScheme(Login("https://api.test/login")), answer(200, [], b'{"token": "t"}'), 200)
    assert (await bench()).status_code == 200
    assert [each.url.raw_path for each in bench.api.requests][:1] == [b"/login"]
    assert [each.extensions.get("target") for each in bench.api.requests] == [None, b"/base/x?a=1"]


async def test_a_changed_url_is_what_is_sent(where: ThreadPoolExecutor | None) -> None:
    bench = Bench(ForeignScheme(Signs(), where), 200)
    await bench(draft(b"/base/%2F?a=1", "POST", content=body(b"abc", b"de")))
    (sent,) = bench.api.requests
    assert "target" not in sent.extensions
    assert sent.url.raw_path == b"/base/%2F?a=1&sign=5-%2Fbase%2F%252F%3Fa%3D1"
    assert bench.api.bodies == [b"abcde"]


async def test_a_body_that_is_too_large_to_be_seen_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READABLE", 4)
    with pytest.raises(BodyTooLarge):
        await Bench(ForeignScheme(Signs()))(draft(method="POST", content=body(b"abc", b"de")))


async def test_one_that_reads_by_itself_in_a_thread_may(threads: ThreadPoolExecutor) -> None:
    reads = Reads()
    response = await Bench(ForeignScheme(reads, threads), answer(200, [], b"a", b"b"))()
    assert await content(response) == b"ab"
    assert reads.seen == [b"ab"] * 2


async def test_an_asynchronous_flow_stays_in_the_loop(threads: ThreadPoolExecutor) -> None:
    stranger = Asynchronous()
    bench = Bench(ForeignScheme(stranger, threads), answer(401, [], b"no"), answer(200, [], b"yes"))
    response = await bench()
    assert await content(response) == b"yes"
    assert (stranger.seen, bench.sent("Authorization")) == ([b"no"], [b"one", b"two"])
    assert threads._threads == set()


async def test_a_compressed_answer_is_read_unpacked_and_handed_on_packed() -> None:
    login = Login(ELSEWHERE)
    packed = gzip.compress(b"text")
    elsewhere = Script(answer(200, [], b'{"token": "t"}'))
    headers = [(b"Content-Encoding", b"gzip")]
    bench = Bench(ForeignScheme(login), answer(200, headers, packed[:9], packed[9:]), elsewhere=elsewhere)
    assert await content(await bench()) == packed
    assert login.seen[1] == (200, b"text")


async def test_an_answer_that_is_too_large_to_be_seen_is_handed_on_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READABLE", 50)
    elsewhere = Script(answer(200, [], b'{"token": "t"}'))
    pieces = [b"x" * 20, b"y" * 40, b"z" * 1000]
    bench = Bench(ForeignScheme(Login(ELSEWHERE)), answer(200, [], *pieces), elsewhere=elsewhere)
    response = await bench()
    assert await content(response) == b"".join(pieces)
    assert bench.story.failure == "renewal failed: the answer is too large for this credential to see it"


class Breaks(Pieces):
    """A body that breaks off."""

    def __init__(self, failure: BaseException) -> None:
        super().__init__()
        self._failure = failure

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"half"
        raise self._failure


@pytest.mark.parametrize("failure", [ResponseIncomplete(sent=True, begun=True), asyncio.CancelledError()])
async def test_an_answer_that_broke_off_never_looks_complete(failure: BaseException) -> None:
    stream = module.Rereadable(Breaks(failure))
    with pytest.raises(type(failure)):
        [piece async for piece in stream]
    stream.hand_on()
    seen = []

    async def read() -> None:
        async for piece in stream:
            seen.append(piece)  # what came before the failure counts

    with pytest.raises(ResponseIncomplete):
        await read()
    assert seen == [b"half"]
    with pytest.raises(ResponseIncomplete):
        await asyncio.to_thread(list, stream)


async def test_an_answer_that_breaks_off_while_it_is_read_is_an_error_for_the_client_too() -> None:
    broken = answer(200)
    broken.stream = Breaks(ResponseIncomplete(sent=True, begun=True))
    elsewhere = Script(answer(200, [], b'{"token": "t"}'))
    bench = Bench(ForeignScheme(Login(ELSEWHERE)), broken, elsewhere=elsewhere)
    response = await bench()
    assert bench.story.failure
    with pytest.raises(ResponseIncomplete):
        await content(response)


async def test_what_is_handed_on_is_not_kept() -> None:
    response = await Bench(ForeignScheme(Plain("t")), answer(200, [], b"x" * 1000))()
    assert isinstance(response.stream, module.Rereadable)
    assert await content(response) == b"x" * 1000
    assert response.stream._read == []


async def test_what_it_raises_comes_out_without_its_text(where: ThreadPoolExecutor | None) -> None:
    with pytest.raises(CredentialError, match="the credential failed with ValueError") as caught:
        await Bench(ForeignScheme(Fails(CANARY, 0), where))()
    assert CANARY not in everything(caught.value)
    bench = Bench(ForeignScheme(Fails(CANARY, 1), where), answer(401, [], b"no"))
    response = await bench()
    assert bench.story.failure == "renewal failed: the credential failed with KeyError"
    assert await content(response) == b"no"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
async def test_one_that_ends_the_process_fails_like_others(
    where: ThreadPoolExecutor | None, kind: type[BaseException]
) -> None:
    with pytest.raises(CredentialError, match=f"the credential failed with {kind.__name__}"):
        await Bench(ForeignScheme(Exits(kind), where))()


async def test_a_body_that_is_an_iterator_is_sent(where: ThreadPoolExecutor | None) -> None:
    elsewhere = Script(200)
    bench = Bench(ForeignScheme(Pieced(ELSEWHERE), where), 200, elsewhere=elsewhere)
    assert (await bench()).status_code == 200
    assert elsewhere.bodies == [b"abc"]


@pytest.mark.parametrize(("stranger", "says"), [(Nothing(), "RuntimeError"), (NothingEither(), "yields no request")])
async def test_one_that_yields_nothing_is_said(
    where: ThreadPoolExecutor | None, stranger: httpx.Auth, says: str
) -> None:
    with pytest.raises(CredentialError, match=says):
        await Bench(ForeignScheme(stranger, where))()


async def test_one_that_does_not_want_to_end_is_let_go(threads: ThreadPoolExecutor) -> None:
    for stranger in (Stubborn(), StubbornToo()):
        flow = ForeignScheme(stranger, threads).async_auth_flow(request())
        await anext(flow)
        await flow.aclose()


# -- threads ----------------------------------------------------------------------------------------------------


async def test_one_that_blocks_blocks_nobody(threads: ThreadPoolExecutor) -> None:
    slow = Slow()
    bench = Bench(ForeignScheme(slow, threads), 401, 200)
    waiting = asyncio.create_task(bench())
    assert await asyncio.to_thread(slow.began.wait, 10)
    assert not waiting.done()
    slow.go_on.set()
    assert (await waiting).status_code == 200
    assert bench.sent("Authorization") == [b"t", b"again"]
    assert all(name.startswith("stranger") for name in slow.threads)


async def test_who_goes_away_while_it_blocks_is_not_held(threads: ThreadPoolExecutor) -> None:
    slow = Slow()
    waiting = asyncio.create_task(Bench(ForeignScheme(slow, threads))())
    assert await asyncio.to_thread(slow.began.wait, 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not slow.closed.is_set()
    slow.go_on.set()
    assert await asyncio.to_thread(slow.closed.wait, 10)


async def test_a_flow_that_is_left_is_closed(threads: ThreadPoolExecutor) -> None:
    slow = Slow()
    slow.go_on.set()
    limits = LimitSettings(replay_memory=0, replay_disk=0)
    bench = Bench(ForeignScheme(slow, threads), answer(401, [], b"no"))
    response = await bench(draft(method="POST", content=body(b"x", limits=limits)))
    assert response.status_code == 401
    assert await asyncio.to_thread(slow.closed.wait, 10)


async def test_without_threads_any_more_it_fails_and_ends() -> None:
    pool = ThreadPoolExecutor(1)
    slow = Slow()
    slow.go_on.set()
    flow = ForeignScheme(slow, pool).async_auth_flow(request())
    await anext(flow)
    pool.shutdown()
    await flow.aclose()
    with pytest.raises(CredentialError, match="RuntimeError"):
        await Bench(ForeignScheme(slow, pool))()


async def test_many_at_once_do_not_meet(threads: ThreadPoolExecutor) -> None:
    bench = Bench(ForeignScheme(Plain("t"), threads), *[200] * 50)
    await asyncio.gather(*(bench(draft(b"/base/%d" % number)) for number in range(50)))
    assert {each.extensions["target"] for each in bench.api.requests} == {b"/base/%d" % n for n in range(50)}
    await settle()
    assert threading.active_count() < 50


def test_a_target_that_is_no_path_has_a_url_all_the_same() -> None:
    assert TargetURL(URL, b"*").raw_path == b"*"
    assert TargetURL(URL, b"/a%2F?b={").raw_path == b"/a%2F?b={"
    assert TargetURL(URL, b"/a?b=1").params["b"] == "1"
