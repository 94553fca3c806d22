"""Who may come in."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from proxy.errors import (
    ClientTokenNeeded,
    Denied,
    ExpectationFailed,
    InternalError,
    MalformedRequest,
    MethodDenied,
    Misdirected,
    ProxyError,
)
from proxy.gateway import Entrance, Inbound, RawHeaders, Story
from proxy.gateway.guard import Admitted, Guard, check_framing, given_tokens, is_local, split_host
from proxy.gateway.headers import read
from proxy.secrets import Secret

HOST = (b"Host", b"localhost:8080")
TOKEN = "s3cret:with spaces"


def secret(value: object) -> Secret:
    made: Secret = TypeAdapter(Secret).validate_python(value)
    return made


def inbound(
    target: bytes = b"/",
    *fields: tuple[bytes, bytes],
    host: bytes | None = HOST[1],
    method: str = "GET",
    version: tuple[int, int] = (1, 1),
    port: int | None = 8080,
) -> Inbound:
    headers = [*([(b"Host", host)] if host is not None else []), *fields]
    return Inbound(method, target, read(headers), version, Entrance("127.0.0.1:8080", port), Story(method, "/", 0.0))


def judge(request: Inbound, guard: Guard | None = None) -> Admitted:
    return (guard or Guard()).judge(request)


def refusal(request: Inbound, guard: Guard | None = None) -> type[ProxyError] | None:
    try:
        judge(request, guard)
    except ProxyError as error:
        return type(error)
    return None


# -- methods and versions --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "trace", "Connect"])
@pytest.mark.parametrize("host", [b"localhost", b"evil.test", b"", None])
def test_trace_and_connect_are_405_whatever_their_host(method: str, host: bytes | None) -> None:
    with pytest.raises(MethodDenied) as caught:
        judge(inbound(b"evil.test:443", host=host, method=method))
    assert caught.value.status == 405
    (name, allowed) = caught.value.headers[0]
    assert name == b"Allow"
    assert b"TRACE" not in allowed
    assert b"CONNECT" not in allowed
    assert ("this is no forward proxy" in caught.value.detail) == (method == "Connect" or method == "CONNECT")


@pytest.mark.parametrize("version", [(0, 9), (1, 2), (2, 0), (3, 0), (11, 0)])
def test_other_versions_are_malformed(version: tuple[int, int]) -> None:
    assert refusal(inbound(version=version)) is MalformedRequest


# -- framing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ([(b"Transfer-Encoding", b"")], (1, 1)),
        ([(b"Transfer-Encoding", b"gzip")], (1, 1)),
        ([(b"Transfer-Encoding", b"identity")], (1, 1)),
        ([(b"Transfer-Encoding", b"gzip, chunked")], (1, 1)),
        ([(b"Transfer-Encoding", b"chunked, gzip")], (1, 1)),
        ([(b"Transfer-Encoding", b"chunked, chunked")], (1, 1)),
        ([(b"Transfer-Encoding", b"chunked;a=b")], (1, 1)),
        ([(b"Transfer-Encoding", b"\x0bchunked")], (1, 1)),
        ([(b"Transfer-Encoding", b"chunked\x00")], (1, 1)),
        ([(b"Transfer-Encoding", b"xchunked")], (1, 1)),
        ([(b"Transfer-Encoding", b"chunked"), (b"transfer-encoding", b"chunked")], (1, 1)),
        ([(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"0")], (1, 1)),
        ([(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")], (1, 1)),
        ([(b"Transfer-Encoding", b"chunked")], (1, 0)),
        ([(b"Content-Length", b"1"), (b"content-length", b"2")], (1, 1)),
        ([(b"Content-Length", b"1"), (b"Content-Length", b"1")], (1, 1)),
    ],
)
def test_what_could_be_framed_in_two_ways_is_malformed(fields: RawHeaders, version: tuple[int, int]) -> None:
    with pytest.raises(MalformedRequest) as caught:
        judge(inbound(b"/", *fields, version=version))
    assert caught.value.close


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"Content-Length", b"0")],
        [(b"Transfer-Encoding", b"chunked")],
        [(b"transfer-encoding", b" CHUNKED\t")],
        [(b"Content_Length", b"1"), (b"Content-Length", b"2")],
    ],
)
def test_what_has_one_framing_passes(fields: RawHeaders) -> None:
    check_framing(read(fields), (1, 1))


# -- Host ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        b"localhost", b"LOCALHOST:1", b"a.localhost", b"a.b.LocalHost:65535", b"127.0.0.1", b"127.0.0.1:8080",
        b"192.168.1.7", b"8.8.8.8", b"[::1]", b"[::1]:8080", b"[fe80::1]", b"[::ffff:127.0.0.1]", b"proxy",
        b"my-box:80", b"my_box", b"a1", b"1a", b"localhost:", b"0.0.0.1",
    ],
)  # fmt: skip
def test_hosts_that_only_this_machine_or_its_network_can_own(host: bytes) -> None:
    assert judge(inbound(host=host)).authority == host


@pytest.mark.parametrize(
    "host",
    [
        b"evil.test", b"localhost.evil.test", b"evil.test:8080", b"127.0.0.1.nip.io", b"localhost.", b"a.localhost.",
        b"127.0.0.1.", b"notlocalhost.test", b"xlocalhost.com", b"0.0.0.0", b"0.0.0.0:8080", b"[::]", b"[::0]:8080",
        b"[0:0:0:0:0:0:0:0]", b"[::ffff:0.0.0.0]", b"[::ffff:0:0]", b"0", b"2130706433", b"0x7f000001", b"0X7F000001",
        b"0x0", b"127.1", b"0177.0.0.1", b"1.2.3", b"1.2.3.4.5", b"256.1.1.1", b"[:::]", b"[1::2::3]", b"[.]", b".",
        b"..", b"a.",
    ],
)  # fmt: skip
def test_hosts_that_others_could_own_are_421(host: bytes) -> None:
    with pytest.raises(Misdirected) as caught:
        judge(inbound(host=host))
    assert caught.value.status == 421


@pytest.mark.parametrize(
    "host",
    [
        None, b"", b" ", b"a b", b"user@localhost", b"user:pw@localhost", b"@localhost", b"localhost/x", b"localhost/",
        b"localhost,evil", b"localhost, localhost", b"localhost:x", b"localhost:-1", b"localhost:99999",
        b"localhost:123456",
        b"localhost:80:80", b"localhost:+80", b"localhost: 80", b"localhost?x", b"localhost#x", b"localhost\\x", b"::1",
        b"[::1", b"::1]", b"[]", b"[::1%25lo]", b"[::1%lo]", b"[v1.a]", b"[::1]x", b"http://localhost", b"local%68ost",
        b"localhost\x00", b"localhost\n", b"\tlocalhost", b"l\xc3\xb6calhost", b"l\xd0\xbecalhost",
        b"localhost;x", b"*",
        b":8080", b"localhost:\xb2",
    ],
)  # fmt: skip
def test_a_malformed_host_is_400(host: bytes | None) -> None:
    assert refusal(inbound(host=host)) is MalformedRequest


@pytest.mark.parametrize(
    ("first", "second"), [(b"localhost", b"localhost"), (b"localhost", b"evil"), (b"", b"localhost")]
)
def test_a_doubled_host_is_400(first: bytes, second: bytes) -> None:
    assert refusal(inbound(b"/", (b"HOST", second), host=first)) is MalformedRequest


def test_a_look_alike_is_no_host() -> None:
    assert refusal(inbound(b"/", (b"Host_", b"localhost"), host=None)) is MalformedRequest


@pytest.mark.parametrize("host", [b"proxy.example.com", b"PROXY.example.com:8080", b"proxy.Example.com:1"])
def test_allowed_hosts_are_compared_whole_port_and_case_aside(host: bytes) -> None:
    guard = Guard(allowed_hosts=["Proxy.Example.com"])
    assert judge(inbound(host=host), guard).authority == host


@pytest.mark.parametrize(
    "host", [b"example.com", b"x.proxy.example.com", b"proxy.example.com.evil.test", b"proxyxexample.com"]
)
def test_parts_of_allowed_hosts_are_not_allowed(host: bytes) -> None:
    assert refusal(inbound(host=host), Guard(allowed_hosts=["proxy.example.com"])) is Misdirected


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"A.b:80", (b"a.b", 80)),
        (b"a", (b"a", None)),
        (b"a:", (b"a", None)),
        (b"a:0", (b"a", 0)),
        (b"a:00080", (b"a", 80)),
        (b"[::A]:1", (b"[::a]", 1)),
    ],
)
def test_name_and_port_of_a_host(value: bytes, wanted: tuple[bytes, int | None]) -> None:
    assert split_host(value) == wanted


@given(st.binary(max_size=40))
def test_any_host_is_judged_without_a_fault(host: bytes) -> None:
    verdict = refusal(inbound(host=host))
    assert verdict in (None, MalformedRequest, Misdirected)


@given(st.from_regex(rb"[a-z0-9.\-]{1,12}\.(test|com|nip\.io)", fullmatch=True))
def test_no_name_with_a_foreign_end_is_local(name: bytes) -> None:
    assert not is_local(name)


# -- targets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", b"/"),
        (b"/a?b?c", b"/a"),
        (b"/a?", b"/a"),
        (b"//evil.test/x", b"//evil.test/x"),
        (b"/a%2Fb?x=%2e%2e/../", b"/a%2Fb"),
        (b"/http://evil.test/", b"/http://evil.test/"),
    ],
)
def test_a_path_is_taken_byte_for_byte(target: bytes, path: bytes) -> None:
    admitted = judge(inbound(target))
    assert (admitted.target, admitted.path, admitted.upstream) == (target, path, None)


@pytest.mark.parametrize(
    ("target", "method"),
    [
        (b"*", "GET"), (b"*x", "OPTIONS"), (b"x", "GET"), (b"", "GET"), (b"?x", "GET"), (b"localhost:8080", "GET"),
        (b"ftp://localhost:8080/", "GET"), (b"http://", "GET"), (b"http://u@localhost:8080/", "GET"), (b"/../x", "GET"),
        (b"/%2e%2e/x", "GET"), (b"/..;/x", "GET"), (b"/a\\b", "GET"), (b"/a#b", "GET"), (b"/\xff", "GET"),
        (b"/a b", "GET"),
        (b"http://localhost:8080/../x", "GET"), (b"http://localhost:8080/a\\b", "GET"),
        (b"http://localhost:8080#/", "GET"),
        (b"http://evil.test\\@localhost:8080/", "GET"), (b"http://localhost:8080:80/", "GET"),
    ],
)  # fmt: skip
def test_a_malformed_target_is_400(target: bytes, method: str) -> None:
    assert refusal(inbound(target, method=method)) is MalformedRequest


def test_options_may_ask_about_the_whole_server() -> None:
    admitted = judge(inbound(b"*", method="OPTIONS"))
    assert (admitted.target, admitted.path) == (b"*", b"*")
    assert refusal(inbound(b"*", method="OPTIONS", host=b"evil.test")) is Misdirected


@pytest.mark.parametrize(
    ("target", "host", "port", "path"),
    [
        (b"http://localhost:8080/a?b", b"localhost:8080", 8080, b"/a?b"),
        (b"HTTP://LOCALHOST:8080/a", b"localhost:8080", 8080, b"/a"),
        (b"http://localhost:8080", b"localhost:8080", 8080, b"/"),
        (b"http://localhost:8080?x", b"localhost:8080", 8080, b"/?x"),
        (b"http://localhost/", b"localhost", 80, b"/"),
        (b"http://localhost:80/", b"localhost", 80, b"/"),
        (b"https://localhost/", b"localhost", 443, b"/"),
        (b"http://[::1]:8080/", b"[::1]:8080", 8080, b"/"),
    ],
)
def test_an_absolute_target_that_names_the_proxy_is_its_path(
    target: bytes, host: bytes, port: int, path: bytes
) -> None:
    admitted = judge(inbound(target, host=host, port=port))
    assert (admitted.target, admitted.upstream) == (path, None)


@pytest.mark.parametrize(
    ("target", "host", "port", "upstream"),
    [
        (b"http://api.test/a", b"api.test", 8080, b"api.test"),
        (b"http://api.test:80/a", b"api.test", 8080, b"api.test:80"),
        (b"http://api.test/a", b"api.test:80", 8080, b"api.test"),
        (b"https://api.test/a", b"API.test:443", 8080, b"api.test"),
        (b"http://localhost:9000/a", b"localhost:9000", 8080, b"localhost:9000"),
        (b"http://localhost/a", b"localhost", 8080, b"localhost"),
        (b"http://localhost:8080/a", b"localhost:8080", None, b"localhost:8080"),
    ],
)
def test_another_absolute_target_names_an_upstream(
    target: bytes, host: bytes, port: int | None, upstream: bytes
) -> None:
    admitted = judge(inbound(target, host=host, port=port))
    assert (admitted.target, admitted.upstream) == (b"/a", upstream)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"http://api.test/", b"localhost:8080"),
        (b"http://localhost:8080/", b"evil.test"),
        (b"http://localhost:8080/", b"localhost"),
        (b"http://api.test:81/", b"api.test"),
        (b"https://api.test/", b"api.test:80"),
        (b"http://api.test/", b"api.test.evil"),
    ],
)
def test_target_and_host_must_not_differ(target: bytes, host: bytes) -> None:
    assert refusal(inbound(target, host=host)) is MalformedRequest


# -- pages -----------------------------------------------------------------------------------------------

ALLOWED = Guard(allowed_origins=["http://localhost:3000", "https://App.example.com/"])


def page(**fields: bytes) -> RawHeaders:
    names = {"origin": b"Origin", "site": b"Sec-Fetch-Site", "mode": b"Sec-Fetch-Mode"}
    return [(names[name], value) for name, value in fields.items()]


@pytest.mark.parametrize(
    "fields",
    [
        page(),
        page(site=b"none", mode=b"navigate"),
        page(site=b"same-origin"),
        page(site=b"same-origin", mode=b"no-cors"),
        page(origin=b"http://localhost:8080"),
        page(origin=b"HTTP://LocalHost:8080", site=b"same-origin"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
def test_no_page_or_one_of_our_own_passes(fields: RawHeaders, method: str) -> None:
    assert judge(inbound(b"/", *fields, method=method), ALLOWED).origin is None


@pytest.mark.parametrize(
    "fields",
    [
        page(site=b"cross-site"),
        page(site=b"same-site"),
        page(site=b"Cross-Site"),
        page(site=b"none, cross-site"),
        page(site=b"none"),
        page(site=b"none", mode=b"no-cors"),
        page(site=b"none", mode=b"cors"),
        page(site=b"none", mode=b"websocket"),
        page(site=b"none", mode=b"navigate, no-cors"),
        [(b"Sec_Fetch_Site", b"none"), (b"Sec-Fetch-Mode", b"no-cors")],
        page(site=b"something-new"),
        page(origin=b"null"),
        page(origin=b""),
        page(origin=b"*"),
        page(origin=b"https://localhost:8080"),
        page(origin=b"http://localhost"),
        page(origin=b"http://localhost:80801"),
        page(origin=b"http://localhost:3001"),
        page(origin=b"http://127.0.0.1:8080"),
        page(origin=b"http://localhost:8080.evil.test"),
        page(origin=b"http://evil.test"),
        page(origin=b"http://app.example.com"),
        page(origin=b"https://app.example.com.evil.test"),
        page(origin=b"https://evil.test/https://app.example.com"),
        page(origin=b"https://app.example.com:443"),
        page(origin=b"http://localhost:3000 http://evil.test"),
        page(origin=b"http://localhost:3000, http://evil.test"),
        page(origin=b"http://localhost:8080", site=b"cross-site"),
        page(origin=b"http://localhost:8080", site=b"same-site"),
        page(origin=b"http://evil.test", site=b"same-origin"),
        page(origin=b"http://evil.test", site=b"none"),
        page(origin=b"http://localhost:3000") + page(origin=b"http://evil.test"),
        page(origin=b"http://localhost:8080") + page(origin=b"http://evil.test"),
        page(site=b"none") + page(site=b"cross-site"),
    ],
)
def test_other_pages_are_403_for_every_method(fields: RawHeaders) -> None:
    for method in ("GET", "POST", "OPTIONS", "HEAD"):
        assert refusal(inbound(b"/", *fields, method=method), ALLOWED) is Denied


@pytest.mark.parametrize("origin", [b"http://localhost:3000", b"https://app.example.com", b"HTTPS://APP.EXAMPLE.COM"])
@pytest.mark.parametrize("site", [None, b"same-site", b"cross-site"])
def test_pages_of_allowed_origins_pass(origin: bytes, site: bytes | None) -> None:
    fields = page(origin=origin, **({} if site is None else {"site": site}))
    assert judge(inbound(b"/", *fields), ALLOWED).origin == origin


def test_an_allowed_origin_does_not_outdo_the_host() -> None:
    assert refusal(inbound(b"/", *page(origin=b"http://localhost:3000"), host=b"evil.test"), ALLOWED) is Misdirected
    rebound = page(origin=b"http://evil.test", site=b"same-origin")
    assert refusal(inbound(b"/", *rebound, host=b"evil.test")) is Misdirected


def test_connection_cant_hide_where_a_page_is_from() -> None:
    fields = [*page(origin=b"http://evil.test", site=b"cross-site"), (b"Connection", b"origin, sec-fetch-site")]
    assert refusal(inbound(b"/", *fields)) is Denied


BROWSER = (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0")
MAPPED = (b"[::ffff:127.0.0.1]:8080", b"[::ffff:7f00:1]:8080", b"[::FFFF:127.9.9.9]", b"[0:0:0:0:0:ffff:127.0.0.1]")
ALIASES = (b"localhost4:8080", b"ip6-localhost", b"my-box:8080", b"192.168.1.7:8080")


def from_page(host: bytes, *fields: tuple[bytes, bytes], is_loopback: bool, guard: Guard | None = None) -> Any:
    request = inbound(b"/", *fields, host=host)
    request.entrance = Entrance("127.0.0.1:8080", 8080, is_loopback)
    return refusal(request, guard)


@pytest.mark.parametrize("host", [*MAPPED, *ALIASES])
def test_a_browser_that_does_not_say_whose_page_asks_is_403(host: bytes) -> None:
    assert from_page(host, BROWSER, is_loopback=True) is Denied
    assert from_page(host, (b"user-agent", BROWSER[1].upper()), is_loopback=True) is Denied
    assert from_page(host, (b"User-Agent", b"x"), BROWSER, (b"Connection", b"user-agent"), is_loopback=True) is Denied
    assert from_page(host, (b"User-Agent", b"curl/8.0"), is_loopback=True) is None
    assert from_page(host, is_loopback=True) is None


@pytest.mark.parametrize("host", [*MAPPED, *ALIASES])
def test_beyond_loopback_that_holds_for_addresses_that_lead_back_to_it(host: bytes) -> None:
    assert from_page(host, BROWSER, is_loopback=False) is (Denied if host in MAPPED else None)


@pytest.mark.parametrize("host", [b"localhost:8080", b"a.LOCALHOST", b"127.0.0.1:8080", b"127.9.9.9", b"[::1]:8080"])
def test_where_browsers_would_say_it_their_silence_means_nothing(host: bytes) -> None:
    assert from_page(host, BROWSER, is_loopback=True) is None


def test_a_browser_may_come_by_another_name_if_it_says_so_or_the_name_is_allowed() -> None:
    own = page(origin=b"http://my-box:8080")
    assert from_page(b"my-box:8080", BROWSER, *own, is_loopback=True) is None
    assert from_page(b"my-box:8080", BROWSER, is_loopback=True, guard=Guard(allowed_hosts=["my-box"])) is None


# -- Expect ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"200-ok", b"100-continue, x", b"100-continue;q=1", b"100continue"])
def test_an_unknown_expectation_is_417(value: bytes) -> None:
    assert refusal(inbound(b"/", (b"Expect", value))) is ExpectationFailed
    assert refusal(inbound(b"/", (b"Expect", b"100-continue"), (b"Expect", value))) is ExpectationFailed


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue"])
def test_100_continue_can_be_expected(value: bytes) -> None:
    assert refusal(inbound(b"/", (b"Expect", value))) is None


# -- the client token ------------------------------------------------------------------------------------


async def admits(*fields: tuple[bytes, bytes], token: str = TOKEN, **options: Any) -> bool:
    guard = Guard(client_token=secret(token), allowed_origins=["http://localhost:3000"])
    request = inbound(b"/", *fields, **options)
    try:
        await guard.admit(request)
    except ClientTokenNeeded:
        return False
    return True


async def test_a_407_says_how_to_bring_the_token_and_not_which() -> None:
    request = inbound()
    with pytest.raises(ClientTokenNeeded) as caught:
        await Guard(client_token=secret(TOKEN)).admit(request)
    assert caught.value.status == 407
    assert [name for name, _ in caught.value.headers] == [b"Proxy-Authenticate"] * 2
    assert TOKEN not in f"{caught.value} {caught.value.headers}"


def basic(text: bytes) -> bytes:
    return b"Basic " + b64encode(text)


RIGHT = TOKEN.encode()
IN_ALL_WAYS = [
    (b"X-Countersign-Token", RIGHT),
    (b"x-countersign-token", RIGHT),
    (b"Proxy-Authorization", b"Bearer " + RIGHT),
    (b"Proxy-Authorization", b"BEARER   " + RIGHT),
    (b"proxy-authorization", basic(b":" + RIGHT)),
    (b"Proxy-Authorization", basic(b"any user:" + RIGHT)),
    (b"Proxy-Authorization", b"basic" + basic(b"u:" + RIGHT)[5:]),
]


@pytest.mark.parametrize("target", [b"/../x", b"/\xff", b"/%2e%2e", b"nonsense", b"http://other.test/x"])
async def test_without_the_token_no_target_is_looked_at(target: bytes) -> None:
    guard = Guard(client_token=secret(TOKEN))
    with pytest.raises(ClientTokenNeeded):
        await guard.admit(inbound(target))
    with pytest.raises(MalformedRequest):
        await guard.admit(inbound(target, (b"X-Countersign-Token", TOKEN.encode())))


@pytest.mark.parametrize("field", IN_ALL_WAYS)
async def test_the_client_token_comes_in_any_of_three_ways(field: tuple[bytes, bytes]) -> None:
    assert await admits(field)
    assert await admits((b"X-Countersign-Token", b"wrong"), field)
    assert field not in read([field]).fields


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"X-Countersign-Token", b"")],
        [(b"X-Countersign-Token", RIGHT[:-1])],
        [(b"X-Countersign-Token", RIGHT + b"x")],
        [(b"X-Countersign-Token", RIGHT.upper())],
        [(b"X-Countersign-Token", b"Bearer " + RIGHT)],
        [(b"X_Countersign_Token", RIGHT)],
        [(b"Authorization", b"Bearer " + RIGHT)],
        [(b"Proxy-Authorization", RIGHT)],
        [(b"Proxy-Authorization", b"")],
        [(b"Proxy-Authorization", b"Bearer")],
        [(b"Proxy-Authorization", b"Bearer ")],
        [(b"Proxy-Authorization", b"Bearer\t" + RIGHT)],
        [(b"Proxy-Authorization", b"Token " + RIGHT)],
        [(b"Proxy-Authorization", b"Basic")],
        [(b"Proxy-Authorization", b"Basic " + RIGHT)],
        [(b"Proxy-Authorization", b"Basic \xff\xfe=")],
        [(b"Proxy-Authorization", b"Basic !!!!")],
        [(b"Proxy-Authorization", b"Basic YQ")],
        [(b"Proxy-Authorization", basic(RIGHT + b":"))],
        [(b"Proxy-Authorization", basic(b"no colon"))],
        [(b"Proxy-Authorization", basic(b""))],
        [(b"X-Countersign-Token", RIGHT.replace(b":", b"\xef\xbc\x9a"))],
    ],
)
async def test_a_missing_and_a_wrong_token_are_the_same(fields: RawHeaders) -> None:
    assert not await admits(*fields)


@given(st.sampled_from([b"X-Countersign-Token", b"Proxy-Authorization"]), st.binary(max_size=40))
async def test_any_bytes_for_a_token_are_just_wrong(name: bytes, value: bytes) -> None:
    for given_value in (value, b"Bearer " + value, b"Basic " + value, basic(value)):
        assert not await admits((name, given_value))
        assert all(isinstance(token, bytes) for token in given_tokens(read([(name, given_value)])))


async def test_a_token_may_hold_any_character() -> None:
    assert await admits((b"X-Countersign-Token", "schlüssel-鍵".encode()), token="schlüssel-鍵")
    assert await admits((b"Proxy-Authorization", basic("ü:schlüssel-鍵".encode())), token="schlüssel-鍵")
    assert not await admits((b"X-Countersign-Token", "schlüssel".encode("latin-1")), token="schlüssel")


async def test_a_preflight_of_an_allowed_origin_cant_bring_a_token() -> None:
    asked = (b"Access-Control-Request-Method", b"GET")
    origin = (b"Origin", b"http://localhost:3000")
    assert await admits(origin, asked, method="OPTIONS")
    assert not await admits(origin, method="OPTIONS")
    assert not await admits(origin, asked, method="GET")
    assert not await admits(asked, method="OPTIONS")


async def test_an_allowed_page_needs_the_token_too() -> None:
    origin = (b"Origin", b"http://localhost:3000")
    assert not await admits(origin)
    assert await admits(origin, (b"X-Countersign-Token", RIGHT))


async def test_a_token_that_cant_be_had_lets_nobody_in() -> None:
    for given_secret in ({"env": "NOBODY_SETS_THIS"}, ""):
        guard = Guard(client_token=secret(given_secret))
        request = inbound(b"/", (b"X-Countersign-Token", b""))
        with pytest.raises(InternalError):
            await guard.admit(request)


async def test_without_a_token_everybody_may_come() -> None:
    request = inbound(b"/x")
    assert (await Guard().admit(request)).path == b"/x"
