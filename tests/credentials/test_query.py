from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.credentials._query import url_without, with_query, without_query
from tests.credentials.doubles import request, target

# A busy machine is no failure.
RELAXED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


def added(to: bytes, *pairs: tuple[str, str | bytes]) -> bytes:
    sent = request(to)
    with_query(sent, pairs)
    return target(sent)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"/p", b"/p?k=v"), (b"/p?", b"/p?k=v"), (b"/p?a=1", b"/p?a=1&k=v"), (b"/p?a=1&", b"/p?a=1&k=v"),
        (b"/p?&a=1", b"/p?&a=1&k=v"), (b"/p?;a", b"/p?;a&k=v"), (b"/p?a=1;", b"/p?a=1;k=v"), (b"/p??", b"/p??&k=v"),
        (b"/p?k=x", b"/p?k=v"), (b"/p?k", b"/p?k=v"), (b"/p?k=x&a=1", b"/p?a=1&k=v"), (b"/p?a=1&k=x", b"/p?a=1&k=v"),
        (b"/p?k=x;a=1", b"/p?a=1&k=v"), (b"/p?a=1;k=x&b", b"/p?a=1&b&k=v"), (b"/p?k=1&k=2&k=3", b"/p?k=v"),
        (b"/p?&k=x&a", b"/p?&a&k=v"), (b"/p?k=x&&a", b"/p?&a&k=v"), (b"/p?kk=x&ak=k&k-=1", b"/p?kk=x&ak=k&k-=1&k=v"),
        (b"/p?%6b=x", b"/p?k=v"), (b"/p?%6B", b"/p?k=v"), (b"/p?%256b=x", b"/p?k=v"), (b"/p?%25256B=x", b"/p?k=v"),
        (b"/p?%%36b=x", b"/p?k=v"), (b"/p?+k=x", b"/p?k=v"), (b"/p?%20k%20=x", b"/p?k=v"), (b"/p?k%00z=x", b"/p?k=v"),
        (b"/p?a=%26k=x", b"/p?a=%26k=x&k=v"), (b"/k=x/p?a", b"/k=x/p?a&k=v"), (b"/p?a=/k=x", b"/p?a=/k=x&k=v"),
    ],
)  # fmt: skip
def test_what_the_client_sent_under_the_name_makes_way(before: bytes, after: bytes) -> None:
    assert added(before, ("k", "v")) == after


@pytest.mark.parametrize(
    "name",
    [b"api_key", b"API_KEY", b"Api_Key", b"%61pi_key", b"%41PI_KEY", b"api_key[]", b"api_key[a]", b"api_key%5B%5D",
     b"api_key%255b0]", b"api.key", b"api%2ekey", b"api+key", b"api%20key", b"api[key", b"+api_key", b"api_key+",
     b"%09api_key", b"api_key%00x", b"%E2%84%AA".replace(b"%E2%84%AA", b"api_%E2%84%AAey")],
)  # fmt: skip
def test_no_spelling_that_a_server_takes_for_ours_is_left(name: bytes) -> None:
    for pair in (name, name + b"=", name + b"=theirs"):
        assert added(b"/p?" + pair, ("api_key", "v")) == b"/p?api_key=v"
        assert added(b"/p?a=1;" + pair + b"&b", ("api_key", "v")) == b"/p?a=1&b&api_key=v"


@pytest.mark.parametrize(
    "name", [b"api-key", b"apikey", b"my_api_key", b"api_key2", b"a[api_key]", b"x.api_key", b"api_key]"]
)
def test_other_names_stay(name: bytes) -> None:
    assert added(b"/p?" + name + b"=theirs", ("api_key", "v")) == b"/p?" + name + b"=theirs&api_key=v"


def test_of_a_name_with_brackets_others_with_such_stay() -> None:
    assert added(b"/p?key[b]=1&key=2&KEY[A]=3&key%5Ba%5D", ("key[a]", "v")) == b"/p?key[b]=1&key=2&key%5Ba%5D=v"


def test_names_and_values_are_encoded_as_utf8() -> None:
    assert added(b"/p", ("a[b]", "x y&=+/ä"), ("c", b"\xff+")) == b"/p?a%5Bb%5D=x%20y%26%3D%2B%2F%C3%A4&c=%FF%2B"
    assert added(b"/p?a%5Bb%5D=1&a[b]=2", ("a[b]", "x")) == b"/p?a%5Bb%5D=x"


def test_with_nothing_to_add_nothing_changes() -> None:
    assert added(b"/p?") == b"/p?"


def test_a_name_that_was_encoded_thousands_of_times_takes_no_time() -> None:
    started = time.process_time()
    for name in (b"%" + b"25" * 60_000 + b"6b", b"%2%3" * 4000 + b"5", b"%25" * 5_000, b"&" * 10_000):
        added(b"/p?" + name + b"=x", ("k", "v"))
    assert time.process_time() - started < 5


PIECES = st.sampled_from([b"a", b"b=1", b"=", b"", b"%", b"%zz", b"%20", b"+x", b"k2=k", b'"<{|', b"?/", b"%6b%6b"])
OURS = st.sampled_from([b"k", b"k=", b"k=k", b"%6b=1", b"%6B", b"%256b=2", b"+k=3", b"k%20", b"%25256b", b"%%36b=="])
SEPARATORS = st.sampled_from([b"&", b";"])


@RELAXED
@given(st.lists(st.tuples(SEPARATORS, PIECES | OURS)), st.booleans())
def test_exactly_one_is_left_and_no_other_byte_changes(parts: list[tuple[bytes, bytes]], first: bool) -> None:
    query = b"".join(separator + part for separator, part in parts)
    to = b"/%2f/k?" + (query[1:] if first else query)
    sent = added(to, ("k", "v"))
    rest, _, last = sent.rpartition(b"k=v")
    assert last == b""
    others = [part for _, part in parts if part.partition(b"=")[0] not in NAMES_OF_OURS]
    assert [part for part in rest.partition(b"?")[2].replace(b";", b"&").split(b"&") if part] == list(
        filter(None, others)
    )
    assert sent.startswith(b"/%2f/k?")
    if len(others) == len(parts):
        assert sent.startswith(to)


NAMES_OF_OURS = {b"k", b"%6b", b"%6B", b"%256b", b"+k", b"k%20", b"%25256b", b"%%36b"}


@RELAXED
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 6))
def test_it_is_found_however_it_was_encoded(name: str, times: int) -> None:
    name = name.replace("\0", "").replace("%", "").strip() or "k"
    encoded = name
    for _ in range(times):
        encoded = quote(encoded, safe="")
    sent = request(b"/p?a=1&" + quote(encoded, safe="").encode() + b"=x&b")
    without_query(sent, {name})
    assert target(sent) in (b"/p?a=1&b", b"/p?b", b"/p?a=1", b"/p?")


@pytest.mark.parametrize(
    ("url", "left"),
    [
        (b"https://api.test/x/?a=1&k=v", b"https://api.test/x/?a=1"),
        (b"/x/?k=v", b"/x/"),
        (b"/x?k=v#top", b"/x#top"),
        (b"?K=v&a", b"?a"),
        (b"next?%6B=v;b=1#k=v", b"next?b=1#k=v"),
        (b"/x?", b"/x?"),
        (b"/x?a=k#", b"/x?a=k#"),
        (b"/k=v", b"/k=v"),
        (b"", b""),
    ],
)
def test_a_url_without_a_parameter(url: bytes, left: bytes) -> None:
    assert url_without(url, ["k"]) == left
