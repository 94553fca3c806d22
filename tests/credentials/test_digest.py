from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.request import parse_http_list, parse_keqv_list

import httpx
import pytest

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
    response = await bench(draft(target, "POST", content=body(b"x", b"y")))
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
    [challenge("SHA-999"), challenge(qop='"auth-int"'), challenge(qop='"other"'), challenge(nonce="x", realm=""),
     answer(401, [(b"WWW-Authenticate", b"Digest garbage")])],
    ids=["algorithm", "auth-int", "qop", "no realm", "garbage"],
)  # fmt: skip
async def test_a_challenge_that_can_not_be_answered_is_handed_on_and_forgotten(refusal: httpx.Response) -> None:
    bench = Bench(build(DIGEST), refusal, challenge(), 200)
    response = await bench()
    assert (response.status_code, len(bench.api.requests)) == (401, 1)
    assert "renewal failed: the credential failed with" in bench.story.failure
    assert (await bench()).status_code == 200


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


async def test_a_body_that_can_not_be_replayed_leaves_the_401() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 100

    from proxy.gateway.body import Body, LimitSettings

    bench = Bench(build(DIGEST), challenge(), 200)
    response = await bench(draft(method="POST", content=Body(pieces, LimitSettings(replay_memory=1, replay_disk=1))))
    assert response.status_code == 401
