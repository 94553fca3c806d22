from __future__ import annotations

import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credentials._cookies import Cookie, kept, parse, with_cookies
from tests.doubles import START

URL = httpx.URL("https://www.example.com/app/login")


def cookie(text: str, url: str = str(URL)) -> Cookie | None:
    return parse(text, httpx.URL(url), START)


def made(text: str, url: str = str(URL)) -> Cookie:
    found = cookie(text, url)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("sid=abc", "sid", "abc"),
        (' sid = "a b" ; Path=/', "sid", '"a b"'),
        ("sid=a=b==", "sid", "a=b=="),
        ("sid=", "sid", ""),
        ("sid=\xfc", "sid", "\xfc"),
    ],
)
def test_name_and_value_are_what_was_sent(text: str, name: str, value: str) -> None:
    assert (made(text).name, made(text).value) == (name, value)


@pytest.mark.parametrize("text", ["", "sid", "=x", " =x", "sid=\x00", "sid=a\r\nX: 1", ";", "; Path=/"])
def test_what_is_no_cookie_is_ignored(text: str) -> None:
    assert cookie(text) is None


@pytest.mark.parametrize(
    ("told", "life"),
    [
        ("", None),
        ("Max-Age=60", 60),
        ("max-age = 60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", 60),
        ("Max-Age=0", 0),
        ("Max-Age=-5", -5),
        ("Max-Age=soon", None),
        ("Expires=Fri, 15 Jan 2027 08:01:00 GMT", 60),
        ("Expires=Friday, 15-Jan-2027 08:01:00 GMT", 60),
        ("Expires=Fri, 15 Jan 2027 08:01:00", 60),
        ("Expires=later", None),
    ],
)
def test_how_long_it_lives(told: str, life: float | None) -> None:
    expiry = made(f"a=b; {told}").expires_at
    assert expiry == (None if life is None else START + life)


@pytest.mark.parametrize(
    ("domain", "hosts"),
    [
        ("", {"www.example.com"}),
        ("www.example.com", {"www.example.com", "a.www.example.com"}),
        ("example.com", {"www.example.com", "a.www.example.com", "api.example.com", "example.com"}),
        (".Example.COM", {"www.example.com", "a.www.example.com", "api.example.com", "example.com"}),
    ],
)
def test_whom_it_is_for(domain: str, hosts: set[str]) -> None:
    found = made(f"a=b; Domain={domain}" if domain else "a=b")
    asked = ("www.example.com", "a.www.example.com", "api.example.com", "example.com", "notexample.com", "com", "b.com")
    assert {host for host in asked if found.is_for(host)} == hosts


@pytest.mark.parametrize("domain", ["com", ".com", "api.example.com", "other.test", "xample.com", "a.www.example.com"])
def test_nobody_sets_one_for_others(domain: str) -> None:
    assert cookie(f"a=b; Domain={domain}") is None


def test_an_address_has_nothing_below_it() -> None:
    assert made("a=b; Domain=10.0.0.1", "https://10.0.0.1/").host_only
    assert cookie("a=b; Domain=0.0.1", "https://10.0.0.1/") is None
    assert made("a=b", "http://localhost:8080/").is_for("LOCALHOST")


@pytest.mark.parametrize(
    ("told", "paths"),
    [
        ("", {"/app", "/app/", "/app/x"}),
        ("Path=/", {"/", "/app", "/app/", "/app/x", "/apple"}),
        ("Path=/app", {"/app", "/app/", "/app/x"}),
        ("Path=/app/", {"/app/", "/app/x"}),
        ("Path=relative", {"/app", "/app/", "/app/x"}),
        ("Path=/else", set()),
    ],
)
def test_where_it_is_sent(told: str, paths: set[str]) -> None:
    found = made(f"a=b; {told}")
    assert {path for path in ("/", "/app", "/app/", "/app/x", "/apple") if found.goes_with(URL, path)} == paths


def test_a_secure_one_is_sent_over_https_or_on_this_machine() -> None:
    found = made("a=b; Path=/; Secure; Domain=example.com")
    assert found.goes_with(URL, "/")
    assert not found.goes_with(httpx.URL("http://www.example.com"), "/")
    assert made("a=b; Secure", "http://127.0.0.1:1/").goes_with(httpx.URL("http://127.0.0.1:2"), "/")


def test_a_later_one_replaces_an_earlier_one_and_an_expired_one_removes_it() -> None:
    first, other, second = made("a=1"), made("b=1"), made("a=2")
    assert kept([first, other], [second], START) == (second, other)
    assert kept([first, other], [made("a=; Max-Age=0")], START) == (other,)
    assert kept([first], [made("a=2; Path=/else")], START) == (first, made("a=2; Path=/else"))


@pytest.mark.parametrize(
    ("theirs", "sent"),
    [
        (b"", b"sid=x"),
        (b"a=1; b=2", b"a=1; b=2; sid=x"),
        (b"sid=theirs; a=1;sid=again; s%69d=odd", b"a=1; sid=x"),
        (b";; a=\xfc ;", b"a=\xfc; sid=x"),
    ],
)
def test_ours_stand_beside_the_clients(theirs: bytes, sent: bytes) -> None:
    assert with_cookies(theirs, [("sid", "x")]) == sent


@pytest.mark.parametrize("theirs", [b"s%69d=theirs", b"sid=theirs", b"%73id=theirs"])
def test_a_name_with_an_escape_in_it_is_ours_however_it_is_read(theirs: bytes) -> None:
    assert with_cookies(theirs, [("s%69d", "x")]) == b"s%69d=x"


@pytest.mark.parametrize(
    "theirs",
    [b"sid=x", b"SID=x", b"sid", b" sid =x", b"\tsid=x", b"s%69d=x", b"+sid=x", b"sid[]=x", b"sid%5B0%5D=x",
     b"sid%00=x",
     b"b=1, sid=x", b"b=1,sid =x", b"b=1 sid=x", b'b="1; sid=x; c="', b'b="sid=x"'],
)  # fmt: skip
def test_no_spelling_that_a_server_takes_for_ours_is_left(theirs: bytes) -> None:
    sent = with_cookies(b"a=1; " + theirs + b"; z=2", [("sid", "ours")])
    assert re.findall(rb"(?i)sid", sent) == [b"sid"]
    assert sent.startswith(b"a=1; ")
    assert sent.endswith(b"z=2; sid=ours")


@pytest.mark.parametrize("theirs", [b"sid2=x", b"my-sid=x", b"a=sid", b"a=my sid is x", b"a=x,sid", b"a=b:sid=1"])
def test_others_stay(theirs: bytes) -> None:
    assert with_cookies(theirs, [("sid", "ours")]) == theirs + b"; sid=ours"


@given(st.text(st.characters(max_codepoint=255), max_size=100))
def test_whatever_comes_is_read_or_ignored(text: str) -> None:
    found = cookie(text)
    if found is not None:
        with_cookies(b"", [(found.name, found.value)])


def test_a_server_can_not_fill_the_memory_with_cookies() -> None:
    own = [made(f"c{number}=x") for number in range(80)]
    left = kept((), own, START)
    assert [each.name for each in left] == [f"c{number}" for number in range(30, 80)]
    again = kept(left, [made("c31=new"), made("c99=x")], START)
    assert [each.name for each in again] == [*(f"c{number}" for number in range(31, 80)), "c99"]
    assert again[0].value == "new"
    many = [made("a=x", f"https://h{number}.test/") for number in range(4000)]
    assert [each.domain for each in kept((), many, START)] == [f"h{number}.test" for number in range(1000, 4000)]


def test_a_cookie_has_at_most_4096_bytes() -> None:
    assert cookie("a=" + "x" * 4094) is not None
    assert cookie("a=" + "x" * 4095) is None
    assert cookie("a=b; Path=/" + "x" * 4090) is None
