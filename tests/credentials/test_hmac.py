from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.credentials.hmac import SIGNABLE
from proxy.errors import BodyTooLarge, CredentialError, SecretError
from proxy.gateway.body import LimitSettings
from tests.credentials.doubles import Bench, applied, body, build, draft, parse, request, target, values
from tests.doubles import START, FakeClock

# A busy machine is no failure.
RELAXED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

SECRET = "s3cr3t"
NOW = str(int(START))
BODY = b'{"qty": 1}'
JSON = [(b"Content-Type", b"application/json")]


def mac(text: bytes, name: str = "sha256", secret: str = SECRET) -> bytes:
    return hmac.new(secret.encode(), text, name).digest()


def table(string: str, **keys: Any) -> dict[str, Any]:
    made = {"type": "hmac", "secret": SECRET, "string_to_sign": string, **keys}
    if "headers" not in made and "query" not in made:
        made["headers"] = {"X-Signature": "{signature}"}
    return made


async def signature(string: str, **keys: Any) -> bytes:
    options = {name: keys.pop(name) for name in ("to", "clock") if name in keys}
    sent = await applied(build(table(string, **keys), clock=options.get("clock")), options.get("to"))
    return values(sent, "X-Signature")[0]


# -- as APIs have it ------------------------------------------------------------------------------------------


@dataclass
class Api:
    """One API's style, and what a POST of `BODY` to /v1/orders?b=2&a=1 has to become there."""

    keys: dict[str, Any]
    fields: dict[str, bytes] = field(default_factory=dict)
    target: bytes = b"/v1/orders?b=2&a=1"


SHA_BODY = hashlib.sha256(BODY).hexdigest()
MILLIS = f"{NOW}000"
QUERY = f"b=2&a=1&timestamp={MILLIS}&recvWindow=5000"
APIS = {
    "timestamp, method, path and body": Api(
        {"key_id": "id", "string_to_sign": "{timestamp}{method}{target}{body}", "encoding": "base64",
         "headers": {"ACCESS-KEY": "{key_id}", "ACCESS-TIMESTAMP": "{timestamp}", "ACCESS-SIGN": "{signature}"}},
        {"ACCESS-KEY": b"id", "ACCESS-TIMESTAMP": NOW.encode(),
         "ACCESS-SIGN": b64encode(mac(f"{NOW}POST/v1/orders?b=2&a=1".encode() + BODY))},
    ),
    "query signed and sent in the query": Api(
        {"key_id": "id", "string_to_sign": "{query}{body}", "timestamp": "unix_ms",
         "headers": {"X-API-KEY": "{key_id}"},
         "query": {"timestamp": "{timestamp}", "recvWindow": "5000", "signature": "{signature}"}},
        {"X-API-KEY": b"id"},
        f"/v1/orders?{QUERY}&signature={mac(QUERY.encode() + BODY).hex()}".encode(),
    ),
    "lines with a body hash": Api(
        {"key_id": "id", "algorithm": "sha512",
         "string_to_sign": "{method}\n{host}\n{path}\n{sorted_query}\n{content_type}\n{body_hash}",
         "headers": {"Authorization": "HMAC-SHA512 {key_id}:{signature}"}},
        {"Authorization": b"HMAC-SHA512 id:" + mac(
            b"POST\napi.test\n/v1/orders\na=1&b=2\napplication/json\n" + hashlib.sha512(BODY).hexdigest().encode(),
            "sha512").hex().encode()},
    ),
    "a date and a digest of the body in fields that are signed": Api(
        {"timestamp": "http", "encoding": "base64",
         "string_to_sign": "date: {header:Date}\ndigest: {header:Digest}\n(target): {method} {target}",
         "headers": {"Date": "{timestamp}", "Digest": "SHA-256={body_hash_base64}", "Signature": "sig={signature}"}},
        {"Date": b"Fri, 15 Jan 2027 08:00:00 GMT", "Digest": b"SHA-256=" + b64encode(hashlib.sha256(BODY).digest()),
         "Signature": b"sig=" + b64encode(mac(
             b"date: Fri, 15 Jan 2027 08:00:00 GMT\ndigest: SHA-256=" + b64encode(hashlib.sha256(BODY).digest())
             + b"\n(target): POST /v1/orders?b=2&a=1"))},
    ),
    "a plain hash of a string with the secret in it": Api(
        {"algorithm": "digest:sha256", "string_to_sign": "{key_id}:{timestamp}:{secret}", "key_id": "id",
         "headers": {"X-Auth": 'id="{key_id}", {{"t":{timestamp}}}, s={signature}'}},
        {"X-Auth": f'id="id", {{"t":{NOW}}}, s={hashlib.sha256(f"id:{NOW}:{SECRET}".encode()).hexdigest()}'.encode()},
    ),
    "sha1 of the URL, for the web": Api(
        {"algorithm": "sha1", "encoding": "base64url", "string_to_sign": "{scheme}://{host}{target}",
         "query": {"sig": "{signature}"}},
        {},
        b"/v1/orders?b=2&a=1&sig="
        + urlsafe_b64encode(mac(b"https://api.test/v1/orders?b=2&a=1", "sha1")).rstrip(b"="),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(APIS))
async def test_it_signs_as_the_api_wants_it(name: str) -> None:
    api = APIS[name]
    scheme = build({"type": "hmac", "secret": SECRET, **api.keys})
    to = request(b"/v1/orders?b=2&a=1", "POST", JSON, body(BODY))
    sent = await applied(scheme, to)
    assert {key: b"|".join(values(sent, key)) for key in api.fields} == api.fields
    assert target(sent) == api.target


# -- the fields of templates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("string", "signed"),
    [
        ("{method}", b"POST"), ("{scheme}", b"https"), ("{host}", b"api.test"), ("{path}", b"/base/%2F"),
        ("{query}", b"b=%20&a=+&&"), ("{sorted_query}", b"a=+&b=%20"), ("{target}", b"/base/%2F?b=%20&a=+&&"),
        ("{timestamp}", NOW.encode()), ("{body}", BODY), ("{body_hash}", SHA_BODY.encode()),
        ("{body_hash_base64}", b64encode(hashlib.sha256(BODY).digest())), ("{content_type}", b"application/json"),
        ("{header:x-one}", b"\xfc\xc3\xa4"), ("{header:X-Two}", b"a, b"), ("{header:X-None}", b""),
        ("{key_id}", "idä".encode()),
        ("{secret}", SECRET.encode()), ("{{{method}}}", b"{POST}"), ("ä\\n\n", "ä\\n\n".encode()),
    ],
)  # fmt: skip
async def test_every_field_of_the_string(string: str, signed: bytes) -> None:
    fields = [*JSON, (b"X-One", b"\xfc\xc3\xa4"), (b"X-Two", b"a"), (b"x-two", b"b")]
    to = request(b"/base/%2F?b=%20&a=+&&", "POST", fields, body(BODY[:3], BODY[3:]))
    assert await signature(string, to=to, key_id="idä") == mac(signed).hex().encode()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("unix", NOW),
        ("unix_ms", f"{NOW}250"),
        ("iso8601", "2027-01-15T08:00:00Z"),
        ("http", "Fri, 15 Jan 2027 08:00:00 GMT"),
    ],
)
async def test_timestamps(kind: str, text: str) -> None:
    keys = {"headers": {"X-Time": "{timestamp}", "X-Signature": "{signature}"}, "timestamp": kind}
    sent = await applied(build(table("{timestamp}", **keys), clock=FakeClock(START + 0.25)))
    assert values(sent, "X-Time") == [text.encode()]
    assert values(sent, "X-Signature") == [mac(text.encode()).hex().encode()]


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
async def test_algorithms_and_encodings(algorithm: str) -> None:
    body_hash = hashlib.new(algorithm, b"").hexdigest().encode()
    digest = mac(b"x" + body_hash, algorithm)
    encoded = {
        "hex": digest.hex().encode(),
        "base64": b64encode(digest),
        "base64url": urlsafe_b64encode(digest).rstrip(b"="),
    }
    for encoding, expected in encoded.items():
        assert await signature("x{body_hash}", algorithm=algorithm, encoding=encoding) == expected
    plain = hashlib.new(algorithm, SECRET.encode() + body_hash).hexdigest().encode()
    assert await signature("{secret}{body_hash}", algorithm=f"digest:{algorithm}") == plain


async def test_a_nonce_is_used_once_and_the_same_in_all_places() -> None:
    keys = {"headers": {"X-Nonce": "{nonce}", "X-Signature": "{signature}"}, "query": {"n": "{nonce}"}}
    scheme = build(table("{nonce}", **keys))
    nonces = set()
    for _ in range(5):
        sent = await applied(scheme)
        (nonce,) = values(sent, "X-Nonce")
        assert re.fullmatch(rb"[0-9a-f]{32}", nonce)
        assert target(sent).endswith(b"&n=" + nonce)
        assert values(sent, "X-Signature") == [mac(nonce).hex().encode()]
        nonces.add(nonce)
    assert len(nonces) == 5


# -- what is signed is what is sent -----------------------------------------------------------------------------


async def test_parameters_are_added_before_they_are_signed() -> None:
    keys = {"query": {"t": "{timestamp}", "u": "a/ä", "sign": "{signature}"}}
    sent = await applied(
        build(table("{target}|{query}|{sorted_query}", **keys)), request(b"/p?z=1&sign=theirs&t=theirs")
    )
    query = b"z=1&t=" + NOW.encode() + b"&u=a%2F%C3%A4"
    ordered = b"&".join(sorted(query.split(b"&")))
    expected = mac(b"/p?%b|%b|%b" % (query, query, ordered)).hex().encode()
    assert target(sent) == b"/p?" + query + b"&sign=" + expected


async def test_fields_are_set_before_they_are_signed() -> None:
    keys = {"headers": {"X-Date": "{timestamp}", "Content-Type": "text/x", "X-Signature": "{signature}"}}
    to = request(fields=[(b"X-Date", b"theirs"), (b"X-Signature", b"theirs"), (b"content-type", b"theirs")])
    sent = await applied(build(table("{header:X-Date}|{content_type}|{header:X-Signature}", **keys)), to)
    assert values(sent, "X-Signature") == [mac(NOW.encode() + b"|text/x|").hex().encode()]
    assert (values(sent, "X-Date"), values(sent, "Content-Type")) == ([NOW.encode()], [b"text/x"])


async def test_what_is_not_ascii_is_utf8_everywhere() -> None:
    keys = {"key_id": "schlüssel", "headers": {"X-Key": "{key_id} ß", "X-Signature": "{signature}"},
            "query": {"k": "{key_id}"}}  # fmt: skip
    for fields in ([], [(b"X-Other", b"\xfc")], [(b"X-Other", "ü".encode())]):
        sent = await applied(build(table("{header:X-Key}|{header:X-Other}", **keys)), request(fields=fields))
        other = fields[0][1] if fields else b""
        assert values(sent, "X-Key") == ["schlüssel ß".encode()]
        assert values(sent, "X-Signature") == [mac("schlüssel ß|".encode() + other).hex().encode()]
        assert target(sent) == b"/base/x?a=1&k=schl%C3%BCssel"
        assert values(sent, "X-Other") == [value for _, value in fields]


PARTS = st.sampled_from([b"/", b"%2F", b"a", b"?", b"&", b";", b"=", b"sign=x", b"t=x", b"%74=y", b"+", b"%zz", b"|"])
TARGETS = st.lists(PARTS).map(b"".join)
VALUES = st.binary(max_size=6).filter(lambda value: not re.search(rb"[\x00-\x1f\x7f]", value))


@RELAXED
@given(TARGETS, st.lists(st.tuples(st.sampled_from([b"X-A", b"x-a", b"X-Sign", b"Content-Type"]), VALUES)),
       st.lists(st.binary(max_size=9)), st.sampled_from(["GET", "POST", "QUERY"]))  # fmt: skip
async def test_a_server_that_signs_what_it_got_agrees(
    path: bytes, fields: list[tuple[bytes, bytes]], pieces: list[bytes], method: str
) -> None:
    string = (
        "{method}\n{host}\n{path}\n{query}\n{target}\n{header:X-A}\n{header:X-T}\n{content_type}\n{body_hash}\n{body}"
    )
    keys = {"headers": {"X-T": "{timestamp}", "X-Sign": "{signature}"}, "query": {"t": "{timestamp}"}}
    bench = Bench(build(table(string, **keys)), 200)
    await bench(draft(b"/" + path, method, fields, body(*pieces)))
    (got,) = bench.api.requests
    (content,) = bench.api.bodies
    assert content == b"".join(pieces)
    at, _, query = target(got).partition(b"?")
    joined = {name: b", ".join(values(got, name)) for name in ("Host", "X-A", "X-T", "Content-Type")}
    signed = b"\n".join([method.encode(), joined["Host"], at, query, target(got), joined["X-A"], joined["X-T"],
                         joined["Content-Type"], hashlib.sha256(content).hexdigest().encode(), content])  # fmt: skip
    assert values(got, "X-Sign") == [mac(signed).hex().encode()]
    assert query.endswith(b"t=" + NOW.encode())


async def test_the_signature_is_quoted_in_the_query() -> None:
    keys = {"query": {"sign": "{signature}"}, "encoding": "base64"}
    sent = await applied(build(table("{target}", **keys)), request(b"/p?a"))
    assert target(sent) == f"/p?a&sign={quote(b64encode(mac(b'/p?a')), safe='')}".encode()


async def test_each_repetition_is_signed_anew() -> None:
    clock = FakeClock()
    keys = {"headers": {"X-Nonce": "{nonce}", "X-Signature": "{signature}"}}
    bench = Bench(build(table("{nonce}{body}", **keys), clock=clock), 503, 200)
    bench.exchange._clock.sleep = lambda seconds: clock.sleep(0)  # type: ignore[method-assign]  # no waiting
    await bench(draft(method="PUT", content=body(BODY)))
    assert len(set(bench.sent("X-Nonce"))) == 2
    assert bench.api.bodies == [BODY] * 2


# -- bodies ---------------------------------------------------------------------------------------------------


async def test_a_body_that_comes_in_chunks_is_read_and_sent_all_the_same() -> None:
    pieces = [bytes([number]) * 70_000 for number in range(40)]
    bench = Bench(build(table("{body_hash}")), 200)
    chunked = body(*pieces, limits=LimitSettings(replay_memory=1000))
    await bench(draft(method="POST", content=chunked))
    await chunked.aclose()
    digest = hashlib.sha256(b"".join(pieces)).hexdigest().encode()
    assert bench.sent("X-Signature") == [mac(digest).hex().encode()]
    assert bench.api.bodies == [b"".join(pieces)]


async def test_a_body_that_is_not_signed_is_not_read_first() -> None:
    to = request(method="POST", content=body(b"x"))
    await applied(build(table("{target}")), to)
    assert to.stream.received == 0  # type: ignore[union-attr]  # a Body


@pytest.mark.parametrize("string", ["{body}", "{body_hash}"])
async def test_a_body_that_can_not_be_kept_can_not_be_signed(string: str) -> None:
    limits = LimitSettings(replay_memory=0, replay_disk=10)
    with pytest.raises(BodyTooLarge):
        await Bench(build(table(string)))(draft(method="POST", content=body(b"x" * 11, b"y", limits=limits)))


async def test_a_body_is_not_held_as_a_whole_beyond_a_limit() -> None:
    huge = body(*[b"x" * (1 << 20)] * ((SIGNABLE >> 20) + 1))
    with pytest.raises(BodyTooLarge):
        await applied(build(table("{body}")), request(method="POST", content=huge))
    await huge.aclose()


async def test_a_field_that_would_be_split_is_not_sent() -> None:
    scheme = build(table("x", headers={"X-Body": "{body}", "X-Signature": "{signature}"}))
    with pytest.raises(CredentialError, match="control character"):
        await applied(scheme, request(method="POST", content=body(b"a\r\nX-Injected: 1")))


# -- secrets beside the signature --------------------------------------------------------------------------------

PASSPHRASE = {"X-Passphrase": {"env": "PASSPHRASE"}, "X-Signature": "{signature}"}


async def test_a_passphrase_goes_along_and_may_be_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSPHRASE", "0pen")
    scheme = build(table("{header:X-Passphrase}{target}", headers=PASSPHRASE, query={"k": {"env": "PASSPHRASE"}}))
    await scheme.ready()
    sent = await applied(scheme, request(b"/a?k=theirs", "GET", [(b"x-passphrase", b"theirs")]))
    assert target(sent) == b"/a?k=0pen"
    assert values(sent, "X-Passphrase") == [b"0pen"]
    assert values(sent, "X-Signature") == [mac(b"0pen/a?k=0pen").hex().encode()]


async def test_explaining_it_shows_no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSPHRASE", "0pen")
    to = request(b"/a")
    scheme = build(table("{header:X-Passphrase}{target}", headers=PASSPHRASE, query={"k": {"env": "PASSPHRASE"}}))
    told = await scheme.explain(to)
    assert told["string_to_sign"] == "***/a?k=***"
    assert told["signature"] == mac(b"0pen/a?k=0pen").hex()
    assert target(to) == b"/a?k=***"
    assert values(to, "X-Passphrase") == [b"***"]


async def test_its_parameters_are_taken_out_of_urls() -> None:
    scheme = build(table("{target}", query={"sig": "{signature}", "ts": "{timestamp}"}))
    assert scheme.without_credential(b"/x?ts=1&a=2&sig=abc") == b"/x?a=2"
    assert build(table("{target}")).without_credential(b"/x?sig=abc") == b"/x?sig=abc"


async def test_every_secret_of_it_is_known_and_needed() -> None:
    made = parse(table("{target}", headers=PASSPHRASE))
    assert dict(made.secrets()).keys() == {"secret", ("headers", "X-Passphrase")}
    with pytest.raises(SecretError, match="PASSPHRASE is not set"):
        await build(table("{target}", headers=PASSPHRASE)).ready()


# -- explaining -------------------------------------------------------------------------------------------------


async def test_explaining_it_shows_the_string_without_the_secret_and_the_signature() -> None:
    to = request()
    told = await build(table("{secret}|{target}|ä")).explain(to)
    expected = mac(f"{SECRET}|/base/x?a=1|ä".encode()).hex()
    assert told == {"string_to_sign": "***|/base/x?a=1|ä", "signature": expected}
    assert values(to, "X-Signature") == [expected.encode()]


# -- mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"string_to_sign": "{metod}"}, r"string_to_sign: no such field \{metod\}; right would be \{method\}"),
        ({"string_to_sign": "{signature}"}, r"string_to_sign: no such field \{signature\}"),
        ({"headers": {"X": "{signatur}"}}, r"headers\.X: no such field \{signatur\}; right would be \{signature\}"),
        ({"query": {"q": "{secret}{signature}"}}, r"query\.q: no such field \{secret\}"),
        ({"string_to_sign": "{"}, r"string_to_sign: a lone \{; right would be \{\{"),
        ({"headers": {"X": "x"}}, "the signature is sent nowhere"),
        ({"headers": {}}, "the signature is sent nowhere"),
        ({"algorithm": "digest:sha256"}, r"unless string_to_sign contains \{secret\}"),
        ({"string_to_sign": "{key_id}"}, "key_id is not given"),
        ({"headers": {"X": "{key_id}{signature}"}}, "key_id is not given"),
        ({"headers": {"X Y": "{signature}"}}, "is not the name of a header field"),
        ({"headers": {"Host": "{signature}"}}, "is set by the proxy itself"),
        ({"algorithm": "md5"}, "sha256"), ({"encoding": "hex2"}, "hex"), ({"timestamp": "now"}, "unix"),
    ],
)  # fmt: skip
def test_mistakes_are_said_with_what_would_be_right(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        parse({**table("{method}"), **keys})


async def test_it_is_ready_when_both_its_secrets_are() -> None:
    await build(table("x", key_id="id")).ready()
    with pytest.raises(Exception, match="NOT_SET_HERE is not set"):
        await build(table("x", key_id={"env": "NOT_SET_HERE"})).ready()
