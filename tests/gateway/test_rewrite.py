"""URLs of the upstream in an answer become the proxy's own."""

from __future__ import annotations

import time
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.rewrite import Place, path_at, plain_authority, rewrite, rewrite_request

BELOW = Place(b"api.test", b"/v1", b"http://localhost:8080", b"/api", b"/api", b"https://api.test")
ROOT = Place(b"api.test", b"", b"http://localhost:8080", b"", b"", b"https://api.test")
STRIPPED = Place(b"api.test", b"/v1", b"http://localhost:8080", b"", b"", b"https://api.test")
PREFIXED = Place(b"api.test:8443", b"", b"http://localhost:8080", b"/api", b"/api", b"https://api.test:8443")
ALL = frozenset({b"location", b"link", b"set-cookie"})


def location(url: str, place: Place) -> str:
    [(name, value)] = rewrite([(b"LOCATION", url.encode())], ALL, place)
    assert name == b"LOCATION"
    return value.decode()


@pytest.mark.parametrize(
    ("place", "url", "ours"),
    [
        (BELOW, "https://api.test/v1/a?b#c", "http://localhost:8080/api/a?b#c"),
        (BELOW, "https://api.test:443/v1/a", "http://localhost:8080/api/a"),
        (BELOW, "HTTPS://API.test/v1/a", "http://localhost:8080/api/a"),
        (BELOW, "http://api.test/v1/a", "http://localhost:8080/api/a"),
        (BELOW, "http://api.test:80/v1/a", "http://localhost:8080/api/a"),
        (BELOW, "//api.test/v1/a", "http://localhost:8080/api/a"),
        (BELOW, "https://api.test/v1", "http://localhost:8080/api"),
        (BELOW, "https://api.test/v1/", "http://localhost:8080/api/"),
        (BELOW, "https://api.test/v1?x", "http://localhost:8080/api?x"),
        (BELOW, "/v1/a%2Fb", "/api/a%2Fb"),
        (BELOW, "/v1", "/api"),
        (BELOW, "/v1#x", "/api#x"),
        (ROOT, "https://api.test", "http://localhost:8080/"),
        (ROOT, "https://api.test/", "http://localhost:8080/"),
        (ROOT, "https://api.test?x", "http://localhost:8080/?x"),
        (ROOT, "https://api.test//a", "http://localhost:8080//a"),
        (ROOT, "/a", "/a"),
        (STRIPPED, "/v1/a", "/a"),
        (STRIPPED, "/v1", "/"),
        (STRIPPED, "/v1?x", "/?x"),
        (STRIPPED, "/v1#x", "/#x"),
        (STRIPPED, "https://api.test/v1?x", "http://localhost:8080/?x"),
        (STRIPPED, "/v1//evil.test/x", "http://localhost:8080//evil.test/x"),
        (STRIPPED, "/v1/\\evil.test/x", "http://localhost:8080/\\evil.test/x"),
        (STRIPPED, "https://api.test/v1//evil.test/x", "http://localhost:8080//evil.test/x"),
        (PREFIXED, "https://api.test:8443/a", "http://localhost:8080/api/a"),
        (PREFIXED, "https://api.test:8443", "http://localhost:8080/api/"),
        (PREFIXED, "https://api.test:8443?x", "http://localhost:8080/api?x"),
        (PREFIXED, "/a", "/api/a"),
        (PREFIXED, "/", "/api/"),
    ],
)
def test_what_points_below_the_base_becomes_ours(place: Place, url: str, ours: str) -> None:
    assert location(url, place) == ours


@pytest.mark.parametrize(
    ("place", "url"),
    [
        (BELOW, "https://api.test/v2/a"),
        (BELOW, "https://api.test/v1x"),
        (BELOW, "https://api.test/"),
        (BELOW, "https://api.test"),
        (BELOW, "/v1x"),
        (BELOW, "/other"),
        (BELOW, "https://other.test/v1/a"),
        (BELOW, "//other.test/v1/a"),
        (BELOW, "https://api.test.evil/v1/a"),
        (BELOW, "https://xapi.test/v1/a"),
        (BELOW, "https://user@api.test/v1/a"),
        (BELOW, "https://api.test@evil/v1/a"),
        (BELOW, "https://api.test\\@evil/v1/a"),
        (BELOW, "https://api.test:8443/v1/a"),
        (BELOW, "https://api.test:80/v1/a"),
        (BELOW, "http://api.test:443/v1/a"),
        (BELOW, "ftp://api.test/v1/a"),
        (BELOW, "wss://api.test/v1/a"),
        (BELOW, "a/b"),
        (BELOW, "?x"),
        (BELOW, "#x"),
        (BELOW, ""),
        (BELOW, "v1/a"),
        (BELOW, "mailto:a@api.test"),
        (ROOT, "//evil.test/x"),
        (ROOT, "///evil.test/x"),
        (PREFIXED, "https://api.test/a"),
        (PREFIXED, "https://api.test:84430/a"),
    ],
)
def test_everything_else_is_left_as_it_came(place: Place, url: str) -> None:
    assert location(url, place) == url


URLS = st.tuples(
    st.sampled_from(["http:", "https:", "HTTPS:", "", "ftp:"]),
    st.sampled_from(["//", "/", "", "///"]),
    st.sampled_from(["api.test", "api.test:443", "evil.test", "api.test@evil.test", "API.TEST:80", "[::1]:8080", ""]),
    st.sampled_from(["", "/", "/v1", "//v1", "/v1/"]),
    st.text("/v1.\\?#@:%;a", max_size=8),
).map("".join)


@given(URLS, st.sampled_from([BELOW, ROOT, STRIPPED, PREFIXED]))
def test_other_origins_are_never_touched_and_never_made(url: str, place: Place) -> None:
    asked = f"https://{place.authority.decode()}/v1/here"
    try:
        before = urlsplit(urljoin(asked, url)).netloc.lower()
    except ValueError:
        return
    after = location(url, place)
    if after != url:
        assert plain_authority(before.encode(), b"https:") in (b"api.test", b"api.test:8443", b"api.test:80")
        assert urlsplit(urljoin("http://localhost:8080/api/here", after)).netloc == "localhost:8080"


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        (
            b'<https://api.test/v1/a?page=2>; rel="next", <https://api.test/v1/a?page=9>; rel="last"',
            b'<http://localhost:8080/api/a?page=2>; rel="next", <http://localhost:8080/api/a?page=9>; rel="last"',
        ),
        (b"</v1/b>; rel=x,<https://cdn.test/v1/c>", b"</api/b>; rel=x,<https://cdn.test/v1/c>"),
        (b"<>; rel=self", b"<>; rel=self"),
        (b"</v1/a", b"</v1/a"),
        (b"", b""),
    ],
)
def test_links(value: bytes, ours: bytes) -> None:
    assert rewrite([(b"link", value)], ALL, BELOW) == [(b"link", ours)]


@pytest.mark.parametrize(
    ("place", "value", "ours"),
    [
        (BELOW, "a=b", "a=b"),
        (BELOW, "a=b; Path=/v1", "a=b; Path=/api"),
        (BELOW, "a=b; path=/v1/x; HttpOnly", "a=b; Path=/api/x; HttpOnly"),
        (BELOW, "a=b; Path=/", "a=b; Path=/api"),
        (STRIPPED, "a=b; Path=/", "a=b; Path=/"),
        (STRIPPED, "a=b; Path=/v1", "a=b; Path=/"),
        (ROOT, "a=b; Path=/x", "a=b; Path=/x"),
        (PREFIXED, "a=b; Path=/x", "a=b; Path=/api/x"),
        (PREFIXED, "a=b; Path=x", "a=b; Path=x"),
        (PREFIXED, "a=b; Path=", "a=b; Path="),
        (PREFIXED, "a=b; Path", "a=b; Path"),
        (BELOW, "a=b; Domain=api.test; Secure; Max-Age=1", "a=b; Max-Age=1"),
        (BELOW, "a=b;SECURE;domain=.api.test", "a=b"),
        (BELOW, "a=b; SameSite=None; Secure; Partitioned", "a=b"),
        (BELOW, "a=b; SameSite=Lax", "a=b; SameSite=Lax"),
        (BELOW, "a=b; Expires=Wed, 21 Oct 2037 07:28:00 GMT", "a=b; Expires=Wed, 21 Oct 2037 07:28:00 GMT"),
        (BELOW, "path=/v1; HttpOnly", "path=/v1; HttpOnly"),
        (BELOW, "secure=1; Secure", "secure=1"),
        (BELOW, "domain=api.test; Domain=api.test", "domain=api.test"),
        (BELOW, "samesite=none", "samesite=none"),
        (BELOW, "a=b=c; x", "a=b=c; x"),
        (BELOW, "", ""),
        (PREFIXED, "__Host-a=b; Path=/; Secure; HttpOnly", "__Host-a=b; Path=/; Secure; HttpOnly"),
        (BELOW, "__HOST-a=b; Secure; Path=/; SameSite=None", "__HOST-a=b; Secure; Path=/; SameSite=None"),
        (BELOW, "__Host-Http-a=b; Secure; Path=/", "__Host-Http-a=b; Secure; Path=/"),
        (PREFIXED, "__Secure-a=b; Path=/x; Secure; Domain=api.test", "__Secure-a=b; Path=/api/x; Secure"),
        (PREFIXED, "__secure-a=b; Path=/; Secure; Partitioned", "__secure-a=b; Path=/api/; Secure; Partitioned"),
        (PREFIXED, "__Http-a=b; Path=/; Secure; HttpOnly", "__Http-a=b; Path=/api/; Secure; HttpOnly"),
        (PREFIXED, "a=__Host-b; Path=/; Secure", "a=__Host-b; Path=/api/"),
    ],
)
def test_cookies_become_ours(place: Place, value: str, ours: str) -> None:
    assert rewrite([(b"Set-Cookie", value.encode())], ALL, place) == [(b"Set-Cookie", ours.encode())]


def test_only_the_fields_that_are_named_are_touched() -> None:
    raw = [(b"Location", b"/v1/a"), (b"Link", b"</v1/a>"), (b"X", b"/v1/a"), (b"Location", b"/v1/b")]
    assert rewrite(raw, frozenset({b"location"}), BELOW) == [
        (b"Location", b"/api/a"),
        (b"Link", b"</v1/a>"),
        (b"X", b"/v1/a"),
        (b"Location", b"/api/b"),
    ]
    assert rewrite(raw, frozenset(), BELOW) == raw


@given(st.binary(max_size=60), st.sampled_from([b"Location", b"Link", b"Set-Cookie"]))
def test_any_bytes_are_rewritten_without_a_fault(value: bytes, name: bytes) -> None:
    [(_, ours)] = rewrite([(name, value)], ALL, STRIPPED)
    assert not set(ours) & set(b"\r\n\0") - set(value)


UNSTRIPPED = Place(b"api.test", b"/v1", b"http://localhost:8080", b"", b"/api", b"https://api.test")
PORT_80 = Place(b"api.test", b"", b"http://localhost", b"", b"", b"http://api.test:81")


@pytest.mark.parametrize(
    ("place", "value", "theirs"),
    [
        (BELOW, "http://localhost:8080", "https://api.test"),
        (BELOW, "http://localhost:8080/", "https://api.test/"),
        (BELOW, "HTTP://LOCALHOST:8080/api/a%2Fb?c#d", "https://api.test/v1/a%2Fb?c#d"),
        (BELOW, "http://localhost:8080/api", "https://api.test/v1"),
        (BELOW, "http://localhost:8080/api/", "https://api.test/v1/"),
        (BELOW, "http://localhost:8080/api?x", "https://api.test/v1?x"),
        (PREFIXED, "http://localhost:8080/api", "https://api.test:8443/"),
        (PREFIXED, "http://localhost:8080/api?x", "https://api.test:8443/?x"),
        (BELOW, "/api/a", "/v1/a"),
        (ROOT, "http://localhost:8080/a", "https://api.test/a"),
        (ROOT, "/a", "/a"),
        (UNSTRIPPED, "http://localhost:8080/api/a", "https://api.test/v1/api/a"),
        (PREFIXED, "http://localhost:8080/api//a", "https://api.test:8443//a"),
        (PORT_80, "http://localhost:80/a", "http://api.test:81/a"),
        (PORT_80, "http://localhost", "http://api.test:81"),
    ],
)
def test_what_names_the_proxy_in_a_request_names_the_upstream(place: Place, value: str, theirs: str) -> None:
    fields = [(b"ORIGIN", value.encode()), (b"X-Origin", value.encode())]
    sent = rewrite_request(fields, frozenset({b"origin"}), place)
    assert sent == [(b"ORIGIN", theirs.encode()), (b"X-Origin", value.encode())]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((place, value) for place in (BELOW, ROOT, UNSTRIPPED) for value in (
            "null", "", "https://localhost:8080", "http://localhost:8081/api/a", "http://localhost/api/a",
            "http://localhost:8080.evil.test/api/a", "http://localhost:8080@evil.test/api/a", "//localhost:8080/api/a",
            "http://other.test/api/a", "https://api.test/v1/a", "about:client",
        )),
        (BELOW, "http://localhost:8080/other/a"),
        (BELOW, "http://localhost:8080/apis"),
        (UNSTRIPPED, "http://localhost:8080/other/a"),
        (BELOW, "/other"),
    ],
)  # fmt: skip
def test_all_else_in_a_request_stays(place: Place, value: str) -> None:
    assert place.upstream_url(value.encode()) == value.encode()


@given(st.binary(max_size=60))
def test_any_bytes_of_a_request_are_translated_without_a_fault(value: bytes) -> None:
    theirs = BELOW.upstream_url(value)
    assert not set(theirs) & set(b"\r\n\0") - set(value)
    assert theirs == value or theirs.startswith((b"https://api.test", b"/v1"))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (b"https://API.test:443/v1/a?b#c", b"/v1/a"),
        (b"https://api.test", b"/"),
        (b"http://api.test/v1/a#", b"/v1/a"),
        (b"//api.test/v1/a", b"/v1/a"),
        (b"/v1/a?b", b"/v1/a"),
        (b"https://other.test/v1/a", None),
        (b"https://api.test:444/v1/a", None),
    ],
)
def test_the_path_at_an_upstream(url: bytes, path: bytes | None) -> None:
    assert path_at(url, {b"api.test"}) == path


@pytest.mark.parametrize(
    ("authority", "scheme", "plain"),
    [
        (b"A.test:443", b"https:", b"a.test"),
        (b"a.test:80", b"HTTP:", b"a.test"),
        (b"a.test:80", b"https:", b"a.test:80"),
        (b"a.test:443", None, b"a.test"),
        (b"[::443]", b"https:", b"[::443]"),
        (b"[::1]:443", b"https:", b"[::1]"),
        (b"a.test:8443", b"https:", b"a.test:8443"),
    ],
)
def test_an_authority_without_the_default_port(authority: bytes, scheme: bytes | None, plain: bytes) -> None:
    assert plain_authority(authority, scheme) == plain


@pytest.mark.parametrize("value", [b"<" * 60_000, b"<https://api.test/" * 4_000, b"<a>;" * 15_000], ids=len)
def test_no_field_is_long_enough_to_keep_it_busy(value: bytes) -> None:
    began = time.process_time()
    for name in (b"link", b"location", b"set-cookie"):
        rewrite([(name, value)], frozenset({name}), PREFIXED)
    assert time.process_time() - began < 2  # one took half a minute
