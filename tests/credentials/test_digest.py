from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from urllib.request import parse_http_list, parse_keqv_list

import httpx
import pytest

from proxy.gateway.body import NO_BODY, Body, LimitSettings, NoBody
from tests.credentials.doubles import Bench, body, build, draft
from tests.doubles import answer

DIGEST = {"type": "digest", "username": "Mufasa", "password": "Circle of Life"}
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
HASHES: dict[str, Callable[[bytes], hashlib._Hash]] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def challenge(algorithm: str = "SHA-256", nonce: str = NONCE, **more: str) -> httpx.Response:
    keys = {"realm": '"api"', "qop": '"auth, auth-int"', "algorithm": algorithm, "nonce": f'"{nonce}"', **more}
    value = "Digest " + ", ".join(f"{key}={each}" for key, each in keys.items() if each)
    return answer(401, [(b"WWW-Authenticate", value.encode())], b"no")


def told(header: bytes) -> dict[str, str]:
    scheme, _, rest = header.decode().partition(" ")
    assert scheme == "Digest"
    return parse_keqv_list(parse_http_list(rest))


def is_right(header: bytes, method: str, target: str, password: str = "Circle of Life") -> bool:
    """Checks as a server does (RFC 7616, section 3.4.1), with nothing of httpx."""
    said = told(header)

    def h(text: str) -> str:
        return HASHES[said["algorithm"]](text.encode()).hexdigest()

    a1, a2 = h(f"{said['username']}:{said['realm']}:{password}"), h(f"{method}:{said['uri']}")
    middle = [said["nonce"], said["nc"], said["cnonce"], said["qop"]] if "qop" in said else [said["nonce"]]
    return said["uri"] == target and said["response"] == h(":".join([a1, *middle, a2]))


def test_the_check_itself_knows_the_example_of_the_rfc() -> None:
    example = (
        b'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=SHA-256, '
        b'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
        b'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
        b'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"'
    )
    assert is_right(example, "GET", "/dir/index.html")
    assert not is_right(example, "GET", "/dir/index.html", "wrong")


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("target", [b"/base/x?a=1", b"/base/a%2Fb?q=%7B<|&&", b"*"])
async def test_it_answers_a_challenge_for_the_very_target(algorithm: str, target: bytes) -> None:
    bench = Bench(build(DIGEST), challenge(algorithm), 200)
    response = await bench(draft(target, "POST", content=body(b"x", b"y", length=2)))
    first, second = bench.sent("Authorization")
    assert (response.status_code, first, bench.api.bodies) == (200, b"", [b"xy"] * 2)
    assert is_right(second, "POST", target.decode())
    assert [each.extensions["target"] for each in bench.api.requests] == [target] * 2


async def test_without_qop_it_answers_as_of_old() -> None:
    bench = Bench(build(DIGEST), challenge("MD5", qop=""), 200)
    await bench()
    assert is_right(bench.sent("Authorization")[1], "GET", "/base/x?a=1")


async def test_it_knows_the_challenge_afterwards_and_counts() -> None:
    bench = Bench(build(DIGEST), challenge(), 200, 200, 200)
    for _ in range(3):
        await bench()
    sent = bench.sent("Authorization")[1:]
    assert [told(each)["nc"] for each in sent] == ["00000001", "00000002", "00000003"]
    assert all(is_right(each, "GET", "/base/x?a=1") for each in sent)


async def test_a_nonce_that_is_over_is_replaced() -> None:
    bench = Bench(build(DIGEST), challenge(), 200, challenge(nonce="new", stale="true"), 200)
    await bench()
    assert (await bench()).status_code == 200
    assert [told(each)["nonce"] for each in bench.sent("Authorization")[1:]] == [NONCE, NONCE, "new"]


async def test_a_wrong_password_is_tried_once_a_request() -> None:
    bench = Bench(build(DIGEST), *(challenge() for _ in range(4)))
    for _ in range(2):
        response = await bench()
        assert (response.status_code, bench.story.failure) == (401, "")
    assert [bool(each) for each in bench.sent("Authorization")] == [False, True, False, True]


@pytest.mark.parametrize(
    "refusal",
    [challenge("SHA-999"), challenge(qop='"other"'), challenge(nonce="x", realm=""),
     answer(401, [(b"WWW-Authenticate", b"Digest garbage")])],
    ids=["algorithm", "qop", "no realm", "garbage"],
)  # fmt: skip
async def test_a_challenge_that_can_not_be_answered_is_handed_on_and_forgotten(refusal: httpx.Response) -> None:
    bench = Bench(build(DIGEST), refusal, challenge(), 200)
    response = await bench()
    assert (response.status_code, len(bench.api.requests)) == (401, 1)
    assert "renewal failed: no Digest challenge of the API is supported; expected algorithm MD5" in bench.story.failure
    assert (await bench()).status_code == 200


BASIC = 'Basic realm="a, b", charset="UTF-8"'
OTHER = 'Digest realm="r", nonce="other", algorithm=SHA-999, qop="auth"'
MD5 = 'Digest realm="api", nonce="md5", algorithm=md5, qop="auth-int, auth"'
SHA = 'Digest realm="api", nonce="sha", algorithm=SHA-256, qop="auth"'


@pytest.mark.parametrize(
    ("fields", "nonce"),
    [
        ([f"{BASIC}, {SHA}"], "sha"),
        ([f"{SHA}, {BASIC}"], "sha"),
        ([BASIC, SHA], "sha"),
        ([f"{OTHER}, {MD5}, {SHA}"], "md5"),
        ([OTHER, SHA, MD5], "sha"),
        (["Negotiate", f"NTLM , {BASIC} , {SHA}"], "sha"),
        ([f"Bearer a; b, {SHA}"], "sha"),
    ],
)
async def test_the_first_challenge_that_is_supported_is_answered(fields: list[str], nonce: str) -> None:
    refusal = answer(401, [(b"WWW-Authenticate", field.encode()) for field in fields], b"no")
    bench = Bench(build(DIGEST), refusal, 200)
    assert (await bench()).status_code == 200
    said = told(bench.sent("Authorization")[1])
    assert (said["nonce"], said["qop"]) == (nonce, "auth")


async def test_where_only_auth_int_is_offered_the_body_is_signed() -> None:
    bench = Bench(build(DIGEST), challenge(qop='"auth-int"'), 200)
    response = await bench(draft(b"/base/x", "PUT", content=body(b"hel", b"lo", length=5)))
    assert (response.status_code, bench.api.bodies) == (200, [b"hello"] * 2)
    said = told(bench.sent("Authorization")[1])

    def h(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    a1, a2 = h("Mufasa:api:Circle of Life"), h(f"PUT:/base/x:{h('hello')}")
    assert said["qop"] == "auth-int"
    assert said["response"] == h(":".join([a1, NONCE, "00000001", said["cnonce"], "auth-int", a2]))


async def test_the_nonce_that_the_server_wants_next_is_used_next() -> None:
    info = [(b"Authentication-Info", b'qop=auth, nextnonce="n\xdb\xb1", rspauth="x"')]
    bench = Bench(build(DIGEST), challenge(), answer(200, info), 200)
    await bench()
    assert (await bench()).status_code == 200
    first, second = bench.sent("Authorization")[1:]
    assert (told(first)["nonce"], told(first)["nc"]) == (NONCE, "00000001")
    assert b'nonce="n\xdb\xb1"' in second
    assert b"nc=00000001" in second


async def test_a_new_challenge_that_is_not_stale_refuses_the_password() -> None:
    bench = Bench(build(DIGEST), challenge(), challenge(nonce="n2"), 200)
    assert (await bench()).status_code == 401
    assert len(bench.api.requests) == 2


async def test_a_nonce_that_is_too_old_at_once_is_replaced_once() -> None:
    bench = Bench(build(DIGEST), challenge(), *(challenge(nonce=f"n{at}", stale="TRUE") for at in range(5)))
    assert (await bench()).status_code == 401
    assert len(bench.api.requests) == 3


@pytest.mark.parametrize("content", [NO_BODY, body(b"x" * 10, limits=LimitSettings(replay_memory=1), length=1 << 40)])
async def test_the_cookies_of_a_401_come_with_the_answer_beside_the_clients(content: Body | NoBody) -> None:
    refusal = challenge()
    refusal.headers = httpx.Headers(
        [*refusal.headers.raw, (b"Set-Cookie", b"sid=1\xdb\xb1; Path=/"), (b"Set-Cookie", b"x")]
    )
    bench = Bench(build(DIGEST), refusal, 200)
    await bench(draft(fields=[(b"Cookie", b"a=b")], content=content))
    assert bench.sent("Cookie") == [b"a=b", b"a=b; sid=1\xdb\xb1"]


@pytest.mark.parametrize("headers", [[], [(b"WWW-Authenticate", b'Bearer realm="x"')]])
async def test_another_401_is_handed_on(headers: list[tuple[bytes, bytes]]) -> None:
    bench = Bench(build(DIGEST), answer(401, headers, b"no"))
    assert (await bench()).status_code == 401
    assert len(bench.api.requests) == 1


async def test_a_changed_password_begins_anew(tmp_path: Path) -> None:
    tmp_path.joinpath("p").write_text("wrong")
    bench = Bench(build({**DIGEST, "password": {"file": str(tmp_path / "p")}}), challenge(), 200, challenge(), 200)
    await bench()
    tmp_path.joinpath("p").write_text("Circle of Life")
    await bench()
    sent = bench.sent("Authorization")
    assert (sent[2], is_right(sent[3], "GET", "/base/x?a=1")) == (b"", True)


# -- what can be sent only once ----------------------------------------------------------------------

TINY = LimitSettings(replay_memory=4, replay_disk=4)


@pytest.mark.parametrize("length", [10, None])
async def test_the_challenge_is_had_before_a_body_that_can_be_sent_only_once(length: int | None) -> None:
    bench = Bench(build(DIGEST), challenge(), 201)
    fields = [(b"Content-Length", b"10") if length else (b"Transfer-Encoding", b"chunked"), (b"Idempotency-Key", b"k")]
    content = body(b"hello", b"world", limits=TINY, length=length)
    response = await bench(draft(b"/base/x", "PUT", fields, content))
    assert (response.status_code, bench.api.bodies) == (201, [b"", b"helloworld"])
    first, second = bench.api.requests
    assert (first.method, first.extensions["target"]) == ("PUT", b"/base/x")
    assert (first.headers["content-length"], "authorization" in first.headers) == ("0", False)
    assert "transfer-encoding" not in first.headers
    assert "idempotency-key" not in first.headers
    assert is_right(bench.sent("Authorization")[1], "PUT", "/base/x")
    assert [field in second.headers.raw for field in fields] == [True, True]


async def test_a_known_nonce_may_be_too_old_for_a_body_that_can_be_sent_only_once() -> None:
    bench = Bench(build(DIGEST), challenge(), 200, challenge(nonce="new"), 200)
    await bench()
    await bench(draft(method="POST", content=body(b"x" * 10, limits=TINY, length=10)))
    assert [told(each)["nonce"] if each else "" for each in bench.sent("Authorization")] == ["", NONCE, "", "new"]
    assert bench.api.bodies == [b"", b"", b"", b"x" * 10]


async def test_a_body_of_unknown_length_goes_with_a_known_challenge_at_once() -> None:
    bench = Bench(build(DIGEST), challenge(), 200, 200)
    await bench()
    await bench(draft(method="POST", content=body(b"x" * 10)))
    assert bench.api.bodies == [b"", b"", b"x" * 10]


@pytest.mark.parametrize("status", [200, 400, 411])
async def test_where_no_challenge_comes_the_body_is_sent_without(status: int) -> None:
    bench = Bench(build(DIGEST), status, 201)
    response = await bench(draft(method="POST", content=body(b"x" * 10, limits=TINY, length=10)))
    assert (response.status_code, bench.api.bodies) == (201, [b"", b"x" * 10])
    assert bench.sent("Authorization") == [b"", b""]


async def test_a_refusal_of_a_body_that_can_be_sent_only_once_is_handed_on() -> None:
    bench = Bench(build(DIGEST), challenge(), challenge(nonce="n2", stale="true"), 200)
    response = await bench(draft(method="POST", content=body(b"x" * 10, limits=TINY, length=10)))
    assert (response.status_code, bench.api.bodies) == (401, [b"", b"x" * 10])
