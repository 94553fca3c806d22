from __future__ import annotations

import pytest

from proxy.credentials import Scheme
from proxy.errors import CredentialError
from tests.credentials.doubles import Bench, applied, build, content, draft
from tests.doubles import Script, answer

NAMES = {"type": "fallback", "credentials": ["a", "b", "c"]}


def bearer(token: str) -> Scheme:
    return build({"type": "bearer", "token": token})


def missing() -> Scheme:
    return build({"type": "bearer", "token": {"env": "NOT_SET"}})


def three(**others: Scheme) -> Scheme:
    members = {"a": bearer("A"), "b": bearer("B"), "c": bearer("C"), **others}
    return build(NAMES, others=members)


async def test_the_next_one_is_asked_on_401_and_the_one_that_worked_is_remembered() -> None:
    bench = Bench(three(), 401, 200, 200)
    assert (await bench()).status_code == 200
    assert (bench.story.notes, bench.story.replays) == (("credential b",), 1)
    assert (await bench()).status_code == 200
    assert bench.story.notes == ()
    assert bench.sent("Authorization") == [b"Bearer A", b"Bearer B", b"Bearer B"]


async def test_after_the_last_comes_the_first() -> None:
    bench = Bench(three(), 401, 401, 200, 401, 200)
    await bench()
    await bench()
    assert bench.sent("Authorization") == [b"Bearer A", b"Bearer B", b"Bearer C", b"Bearer C", b"Bearer A"]


async def test_when_all_are_refused_the_last_401_is_handed_on() -> None:
    bench = Bench(three(), 401, 401, answer(401, [], b"the third"))
    response = await bench()
    assert (response.status_code, len(bench.api.requests)) == (401, 3)
    assert b"".join([piece async for piece in response.stream]) == b"the third"  # type: ignore[union-attr]


@pytest.mark.parametrize("status", [200, 403, 404, 500])
async def test_any_other_answer_is_handed_on(status: int) -> None:
    bench = Bench(three(), *[status] * 4)
    await applied(three())
    assert (await bench(draft(method="POST"))).status_code == status
    assert bench.sent("Authorization") == [b"Bearer A"]


async def test_one_that_can_not_be_had_is_passed_over() -> None:
    bench = Bench(three(a=missing()), 200)
    assert (await bench()).status_code == 200
    assert (bench.sent("Authorization"), bench.story.notes) == ([b"Bearer B"], ())


async def test_when_none_can_be_had_it_says_why() -> None:
    with pytest.raises(CredentialError, match="NOT_SET is not set"):
        await Bench(three(a=missing(), b=missing(), c=missing()))()


async def test_a_401_is_handed_on_if_the_others_can_not_be_had() -> None:
    bench = Bench(three(b=missing(), c=missing()), 401)
    assert (await bench()).status_code == 401
    assert bench.sent("Authorization") == [b"Bearer A"]


async def test_a_member_renews_before_the_next_one_is_asked() -> None:
    issuer = Script(*(answer(200, [], b'{"access_token": "t%d"}' % number) for number in range(3)))
    oauth2 = build({"type": "oauth2", "grant": "client_credentials", "token_url": "https://issuer.test/t",
                    "client_id": "i", "client_secret": "s"}, issuer=issuer)  # fmt: skip
    bench = Bench(three(a=oauth2), 401, 401, 200)
    await bench()
    assert bench.sent("Authorization") == [b"Bearer t0", b"Bearer t1", b"Bearer B"]
    assert bench.story.notes == ("renewed token", "credential b")


async def test_a_member_that_can_not_renew_is_passed_over() -> None:
    issuer = Script(answer(200, [], b'{"access_token": "t"}'), 429)
    oauth2 = build({"type": "oauth2", "grant": "client_credentials", "token_url": "https://issuer.test/t",
                    "client_id": "i", "client_secret": "s"}, issuer=issuer)  # fmt: skip
    bench = Bench(three(a=oauth2), 401, 200)
    assert (await bench()).status_code == 200
    assert bench.sent("Authorization") == [b"Bearer t", b"Bearer B"]


async def test_unauthorized_says_when_the_next_one_is_asked() -> None:
    table = {**NAMES, "unauthorized": {"status": [403], "body": "expired"}}
    members = {"a": bearer("A"), "b": bearer("B"), "c": bearer("C")}
    bench = Bench(build(table, others=members), answer(403, [], b"expired"), answer(403, [], b"not yours"), 401)
    response = await bench()
    assert (response.status_code, await content(response)) == (403, b"not yours")
    assert (await bench()).status_code == 401
    assert bench.sent("Authorization") == [b"Bearer A", b"Bearer B", b"Bearer B"]
