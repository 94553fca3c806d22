"""Values of header fields: waits, dates, challenges, cookies, URLs."""

from __future__ import annotations

import asyncio
import math

import httpx

from proxy.clock import Clock
from proxy.credentials._challenges import challenges
from proxy.credentials._cookies import parse, with_cookies
from proxy.credentials.digest import Digest, DigestScheme
from proxy.errors import CountersignError
from proxy.gateway.headers import read
from proxy.gateway.rewrite import Place, rewrite
from proxy.log import mask
from proxy.transport.codings import readable_encodings
from proxy.transport.keepalive import idle_time
from proxy.waiting import is_throttling, told_wait, whole_seconds
from tests.fuzz import target

NOW = 1_800_000_000.0
LOOP = asyncio.new_event_loop()
_CONTROLS = bytes(set(range(32)) - {9} | {127})


def is_field(value: bytes) -> bool:
    """Whether it can stand in a header field (RFC 9110, section 5.5)."""
    return value.translate(None, _CONTROLS) == value


@target(
    b"120", b"0", b"1.5", b"Fri, 31 Dec 1999 23:59:59 GMT", b"Friday, 31-Dec-99 23:59:59 GMT", b"1800000060",
    b"1800000060000",
    b"Fri Dec 31 23:59:59 1999", b"100;w=60", words=[b"GMT", b"+0000", b"-9999", b"Dec", b"99:99:99", b"9999", b"0000"],
)  # fmt: skip
def waits(data: bytes) -> None:
    for name in (b"Retry-After", b"RateLimit-Reset", b"X-RateLimit-Reset", b"x-rate-limit-reset"):
        fields = [(name, data), (b"X-RateLimit-Remaining", data)]
        wait = told_wait(fields, NOW)
        assert wait is None or (math.isfinite(wait) and wait >= 0)
        if wait is not None:
            assert whole_seconds(wait) >= max(1, wait)
        assert is_throttling(429, fields) is True
        assert is_throttling(200, fields) is False


CHALLENGES = (
    b'Digest realm="a", nonce="b", qop="auth", algorithm=SHA-256, opaque="c"',
    b"Basic realm=x, Bearer error=invalid_token",
    b'Bearer error="invalid_token", error_description="a \\" b"', b"Negotiate abc==, Digest nonce=x realm=y",
    b'Digest realm="a", nonce="b", algorithm=MD5-sess, qop="auth-int,auth", stale=true',
)  # fmt: skip
CHALLENGE_WORDS = [
    b"Digest ",
    b"Bearer ",
    b"nonce=",
    b"realm=",
    b"qop=",
    b"auth",
    b"algorithm=",
    b"MD5",
    b'"',
    b"\\",
    b"==",
]


@target(*CHALLENGES, words=CHALLENGE_WORDS)
def www_authenticate(data: bytes) -> None:
    found = list(challenges([(b"WWW-Authenticate", data), (b"X", b"Basic")]))
    size = sum(len(each.scheme) + sum(map(len, (*each.parameters, *each.parameters.values()))) for each in found)
    assert size <= len(data)
    assert all(each.scheme == each.scheme.lower() for each in found)


@target(
    b"gzip, deflate, br;q=0.5, *;q=0", b"identity;q=0, *", b"timeout=5, max=100", b'Timeout="1.5"; max=0',
    words=[b"gzip", b"identity", b"*", b";q=", b"0.000", b"timeout=", b"max=", b", "],
)  # fmt: skip
def negotiation(data: bytes) -> None:
    asked = readable_encodings(data)
    assert readable_encodings(asked) == asked
    assert {member.partition(b";")[0] for member in asked.split(b", ")} <= {
        b"gzip", b"x-gzip", b"deflate", b"identity", b"*",
    }  # fmt: skip
    seconds = idle_time(data)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


async def _answered(data: bytes) -> list[bytes]:
    """``Authorization`` of each request that a digest credential sends when it is challenged so."""
    scheme = DigestScheme(Digest.model_validate({"type": "digest", "username": "u", "password": "p"}), Clock())
    request = httpx.Request("GET", "http://a/x", extensions={"target": b"/x?y"})
    flow = scheme.async_auth_flow(request)
    sent = []
    following = await anext(flow)
    for _ in range(4):
        sent.append(b"".join(value for name, value in following.headers.raw if name.lower() == b"authorization"))
        answer = httpx.Response(
            401, headers=[(b"WWW-Authenticate", data)], stream=httpx.ByteStream(b""), request=following
        )
        try:
            following = await flow.asend(answer)
        except (StopAsyncIteration, CountersignError):
            return sent
    raise AssertionError("no end")


@target(*CHALLENGES, words=CHALLENGE_WORDS)
def digest(data: bytes) -> None:
    if not is_field(data):
        return  # the transport has refused it
    sent = LOOP.run_until_complete(_answered(data))
    assert len(sent) <= (3 if b"stale" in data.lower() else 2)
    assert sent[0] == b""
    assert all(is_field(value) for value in sent)


@target(
    b"sid=1; Path=/a; HttpOnly; Max-Age=60",
    b"a=b; Expires=Wed, 21-Oct-2029 07:28:00 GMT; Domain=.api.test; Secure", b"a=",
    words=[b"; ", b"Path=", b"Domain=", b"Expires=", b"Max-Age=", b"Secure", b"api.test", b"GMT", b"2029"],
)  # fmt: skip
def cookies(data: bytes) -> None:
    cookie = parse(data.decode("latin-1"), httpx.URL("https://www.api.test/a/b"), NOW)
    if cookie is not None:
        assert cookie.is_for("www.api.test")
        assert not cookie.is_for("other.test")
        assert cookie.expires_at is None or math.isfinite(cookie.expires_at)
        assert is_field(cookie.value.encode("latin-1"))
        sent = with_cookies(data, [(cookie.name, "ours")])
        assert sent.split(b"; ")[-1] == f"{cookie.name}=ours".encode("latin-1")
        named = [each.partition(b"=")[0].strip() for each in sent.split(b";")]
        assert named.count(cookie.name.encode("latin-1")) == 1


PLACE = Place(b"api.test", b"/v1", b"http://localhost:8080", b"/api", b"/api", b"https://api.test")
OURS = (b"http://localhost:8080", b"/api", b" Path=")


@target(
    b"https://api.test/v1/x", b"//api.test:443/v1?x", b"/v1", b"https://evil.test/v1/",
    b"<https://api.test/v1/a>; rel=next, </v1>",
    b"a=b; Domain=api.test; Path=/v1; Secure; SameSite=None", words=[b"https://", b"//", b"api.test", b"/v1", b"<",
    b">", b"; Path="],
)  # fmt: skip
def rewriting(data: bytes) -> None:
    for name in (b"location", b"link", b"set-cookie"):
        [(_, value)] = rewrite([(name, data)], frozenset({name}), PLACE)
        assert is_field(value) or not is_field(data)
        assert len(value) <= 12 * len(data) + 64
        if name == b"location" and value != data:
            assert value.startswith((b"http://localhost:8080/api", b"/api"))
            assert not value.startswith((b"//", b"/\\"))


@target(
    b"https://u:p@h/?q=x token=abc Authorization: Bearer x", b'{"access_token": "x", "a": 1}',
    b"Cookie: a=b\r\nBasic abcd",
    words=[b"Bearer ", b"token", b"=", b"secret", b"://", b"@", b"?", b"Authorization", b": ", b"-", b"x-", b"_key"],
)  # fmt: skip
def masking(data: bytes) -> None:
    text = data[:1024].decode("latin-1")
    masked = mask(text)
    line = text[:40].replace("\n", "").replace("\r", "")
    assert len(masked) <= 4 * len(text) + 3
    for form in (f"Authorization: {line}c4n", "https://u:c4n@h/", "https://h/?c4n", "token=c4n"):
        assert "c4n" not in mask(f"{text}\n{form}")


@target(
    b"Host: localhost\nConnection: x, close\nX: y", b"Authorization: a\nauthorization: b\nTE: trailers\nX_Y: z",
    words=[b"Host", b"Connection", b": ", b"\n", b"Content-Length", b"Transfer-Encoding", b"Content_Length",
    b"Upgrade"],
)  # fmt: skip
def hop_by_hop(data: bytes) -> None:
    raw = [(name.strip(), value.strip()) for name, _, value in (line.partition(b":") for line in data.split(b"\n"))]
    head = read(raw)
    names = {name.lower() for name, _ in head.fields}
    assert not names & {b"connection", b"host", b"transfer-encoding", b"upgrade", b"te", b"proxy-authorization"}
    assert not {name.replace(b"_", b"-") for name in names if b"_" in name} & {
        b"content-length",
        b"transfer-encoding",
        b"host",
    }
    named = {
        token.strip().lower() for name, value in raw if name.lower() == b"connection" for token in value.split(b",")
    }
    assert not names & (named - {b"", b"close", b"keep-alive"})
    assert all(field in raw for field in head.fields)
