"""What brings tokens: answers of servers, programs, files, redirects."""

from __future__ import annotations

import json
import math
from contextlib import suppress

import httpx

from proxy.clock import Clock
from proxy.credentials._tokens import epoch, from_id_token, from_text
from proxy.credentials.netrc import Netrc
from proxy.errors import CountersignError, CredentialError, SecretError, StoreError, TokenEndpointDown
from proxy.keys import SigningKey
from proxy.secrets import parse_secret
from proxy.stores import Token
from proxy.stores._cipher import Cipher
from proxy.stores._format import DamagedError, decode, encode
from proxy.tokens._body import described, parsed, unpacked
from proxy.tokens._errortext import LONGEST, error_of, shown
from proxy.tokens.callback import judge
from proxy.tokens.endpoint import LARGEST, Reply, TokenEndpoint
from proxy.tokens.settings import check_url
from tests.fuzz import room, target
from tests.fuzz.fields import LOOP, NOW, is_field

JSON = [
    b'"access_token"', b'"expires_in"', b'"token_type"', b'"Bearer"', b'"refresh_token"', b'"error"',
    b'"invalid_grant"', b"null",
    b"true", b"{", b"}", b"[", b": ", b", ", b"1e400", b'"\\ud800"', b'"\\u0000"', b"-0", b"3600", b"NaN", b"Infinity",
]  # fmt: skip


def is_sane(token: Token) -> bool:
    """Whether a token can be sent and stored."""
    ends = token.expires_at is None or (math.isfinite(token.expires_at) and token.expires_at > NOW)
    return ends and token.access_token.isascii() and is_field(token.access_token.encode()) and _survives(token)


def _survives(token: Token) -> bool:
    return Token.from_json(json.loads(json.dumps(token.to_json()))) == token


class Then(Clock):
    def time(self) -> float:
        return NOW


ENDPOINT = TokenEndpoint("https://a/token", httpx.MockTransport(lambda _: httpx.Response(200)), Then())


@target(
    b'{"access_token": "abc", "expires_in": 3600, "token_type": "Bearer", "refresh_token": "r", "scope": "a b"}',
    b'{"error": "invalid_grant", "error_description": "x"}', b'{"access_token": "a", "expires_in": "60"}',
    b"<html>", b"[]", b"access_token=a&expires_in=60&token_type=bearer", b'{"error": {"code": 1, "message": "x"}}',
    b'{"ok": false, "errors": [{"message": "x"}]}', words=[*JSON, b"access_token=", b"&", b"%00", b"\x1b[2J"],
)  # fmt: skip
def token_answer(data: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        headers = httpx.Headers({"Content-Type": kind})
        body = parsed(unpacked(data, headers, LARGEST), headers)
        said = "" if body is None else shown(" ".join(error_of(body)), ["c4n4ry-value"])
        assert said.isprintable()
        assert len(said) <= LONGEST
        assert "c4n4ry-value" not in said
        for status in (200, 201, 400, 401, 403, 404):
            try:
                token = ENDPOINT.token(Reply(status, headers, body, said, described(headers, len(data))))
            except (CredentialError, TokenEndpointDown) as failure:
                assert len(failure.detail) < LONGEST + 200
                continue
            assert 200 <= status < 300
            assert is_sane(token)


@target(
    b"plain-token\n", b'{"token": "a", "expires_in": 60}',
    b'{"access_token": "a", "expires_at": "2999-01-01T00:00:00Z"}',
    b'{"kind": "ExecCredential", "status": {"token": "t", "expirationTimestamp": "2999-01-01T00:00:00Z"}}',
    b'{"accessToken": "a", "expiresOn": "2999-01-01 00:00:00.000000", "expires_on": 32472144000}',
    b'{"credential": {"access_token": "a", "token_expiry": "2999-01-01T00:00:00Z"}}',
    b'{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c", "Expiration": "2999-01-01T00Z"}',
    words=[*JSON, b'"token"', b'"status"', b'"kind"', b'"ExecCredential"', b'"expires_at"', b'"2999-01-01"',
    b"T00:00:00Z"],
)  # fmt: skip
def exec_output(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for read in (from_text, from_id_token):
        try:
            token = read(text, NOW, "it")
        except CredentialError as failure:
            assert len(failure.detail) < 200
            assert failure.__context__ is None
            continue
        assert is_sane(token)
    when = epoch(text)
    assert when is None or math.isfinite(when)


CIPHER = Cipher([b"key"])
PLAIN = encode({"a": Token("t", 5.0, "r"), "b": Token("u", None)}, None)


@target(
    PLAIN, encode({"a": Token("t", 5.0)}, CIPHER), b"{}", b'{"format": "countersign-tokens", "version": 2}',
    words=[*JSON, b'"format"', b'"version"', b'"tokens"', b'"cipher"', b'"expires_at"', b'"dpop_key"', b'"nonce"'],
)  # fmt: skip
def store_file(data: bytes) -> None:
    for cipher in (None, CIPHER):
        try:
            tokens = decode(data, cipher)
        except (DamagedError, StoreError):
            continue
        assert decode(encode(tokens, cipher), cipher) == tokens


@target(
    b"machine a login u password p\n", b"default login u password p",
    b"machine a login u password p macdef init\nx\n\n",
    b'machine a login "u v" password \\p account q # x', words=[b"machine ", b"default ", b"login ", b"password ",
    b"macdef ", b"\n\n"],
)  # fmt: skip
def netrc(data: bytes) -> None:
    file = room() / "netrc"
    file.write_bytes(data)
    file.chmod(0o600)
    scheme = Netrc.model_validate({"type": "netrc", "file": str(file)}).build(None)  # type: ignore[arg-type]
    request = httpx.Request("GET", "http://a/")
    try:
        LOOP.run_until_complete(scheme.apply(request))
    except (SecretError, CredentialError) as failure:
        assert "can't be" in str(failure) or len(str(failure)) < 200
        return
    value = request.headers["Authorization"].encode("latin-1")
    assert value.startswith(b"Basic ")
    assert is_field(value)


@target(
    b"GET /callback?code=a&state=b HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
    b"POST /callback HTTP/1.0\r\nHost: evil\r\n\r\n",
    words=[b"/callback", b"Host: ", b"127.0.0.1", b"[::1]", b"localhost", b"HTTP/1.1", b"?code=", b"\r\n"],
)  # fmt: skip
def login_redirect(data: bytes) -> None:
    status, query = judge(data)
    assert status in (200, 400, 404, 405, 421)
    assert status == 200 or not query


KEY = SigningKey.generate()


@target(
    KEY.private_jwk().encode(),
    b"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----\n",
    b'{"kty": "oct", "k": "c2VjcmV0"}', b'{"kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "AQAB"}',
    words=[*JSON, b'"kty"', b'"EC"', b'"oct"', b'"OKP"', b'"RSA"', b'"crv"', b'"P-256"', b'"Ed25519"', b'"d"',
    b'"x"', b'"y"', b'"alg"', b'"kid"'],
)  # fmt: skip
def signing_key(data: bytes) -> None:
    try:
        key = SigningKey.load(data.decode("utf-8", "replace"))
    except SecretError as failure:
        assert failure.__context__ is None
        return
    with suppress(SecretError):
        assert key.sign({"a": 1}).count(".") == 2


@target(b'{"a": {"b": "c"}}', b'{"a": [{"b": 1}]}', b'["x"]', words=[*JSON, b'"a"', b'"b"'])
def picked_secret(data: bytes) -> None:
    file = room() / "secret"
    file.write_bytes(data)
    for table in ({"file": str(file)}, {"file": str(file), "json": "a.b"}, {"file": str(file), "json": "a.0.b"}):
        try:
            value = LOOP.run_until_complete(parse_secret(table).get())
        except CountersignError as failure:
            assert failure.__context__ is None or not isinstance(
                failure.__context__, UnicodeDecodeError | json.JSONDecodeError
            )
            continue
        assert is_field(value.encode())


@target(
    b"https://login.example.com/token?x=y", b"http://127.0.0.1:1/", b"https://[::1]:8443/t", b"https://\xc3\xbc.example/",
    words=[b"https://", b"http://", b":", b"@", b"/", b"?", b"#", b"[", b"]", b"xn--", b"%",
           b"65536", b"\xe2\x80\x8b", b".."],
)  # fmt: skip
def endpoint_url(data: bytes) -> None:
    for text in (data.decode("utf-8", "replace"), f"https://{data.decode('utf-8', 'replace')}/"):
        try:
            check_url("it", text, insecure=True)
        except ValueError as failure:
            assert len(str(failure)) < 200
            continue
        url = httpx.URL(text)
        assert url.scheme in ("http", "https")
        assert url.host
        assert is_field(url.netloc + url.raw_path)
