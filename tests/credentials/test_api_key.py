from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.credentials.doubles import applied, build, parse, request, target, values

# A busy machine is no failure.
RELAXED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


def key(**keys: Any) -> dict[str, Any]:
    return {"type": "api_key", "name": "api_key", "value": "v/ä +", **keys}


async def test_in_a_header_it_stands_as_it_is_behind_its_prefix() -> None:
    scheme = build(key(name="X-Api-Key", prefix="Token token="))
    assert scheme.fields == {b"x-api-key"}
    sent = await applied(scheme, request(fields=[(b"x-API-key", b"theirs"), (b"X-Api-Key", b"theirs")]))
    assert values(sent, "X-Api-Key") == ["Token token=v/ä +".encode()]


@pytest.mark.parametrize(
    "theirs",
    [b"api_key=x", b"%61pi_key=x", b";api_key=x", b"api_key=x&api_key=y", b"api%5Fkey", b"%2561pi_key=x",
     b"+api_key=x", b"api_key%20=x", b"api_key", b"a=1;%61%70%69_key=x"],
)  # fmt: skip
async def test_in_the_query_exactly_one_is_left(theirs: bytes) -> None:
    sent = await applied(build(key(**{"in": "query"})), request(b"/base?b=%2f&" + theirs + b"&c"))
    kept = [b"a=1"] if theirs.startswith(b"a=1") else []
    parts = [part for part in target(sent).split(b"&") if part]
    assert parts == [b"/base?b=%2f", *kept, b"c", b"api_key=v%2F%C3%A4%20%2B"]


@RELAXED
@given(st.lists(st.sampled_from(["api_key=x", "%61pi_key=x", "a=1", "b", "", "api_keys=1", "%zz"]), max_size=6),
       st.sampled_from(["&", ";"]))  # fmt: skip
async def test_in_the_query_the_others_stay(parts: list[str], separator: str) -> None:
    to = request(f"/base?{separator.join(parts)}".encode())
    sent = target(await applied(build(key(**{"in": "query"})), to)).decode()
    query = sent.partition("?")[2].replace(";", "&")
    assert [part for part in query.split("&") if part] == [
        *(part for part in parts if part and part not in ("api_key=x", "%61pi_key=x")),
        "api_key=v%2F%C3%A4%20%2B",
    ]


@pytest.mark.parametrize(
    ("theirs", "sent"),
    [
        ([], b"api_key=V"), ([b"a=1"], b"a=1; api_key=V"), ([b"a=1; api_key=x; b"], b"a=1; b; api_key=V"),
        ([b"api_key=x"], b"api_key=V"), ([b"%61pi_key=x;api_key ;a"], b"a; api_key=V"),
        ([b"a=\"1 \x85\";  b=\xa0\xff", b"api_key=y; c=1"], b"a=\"1 \x85\"; b=\xa0\xff; c=1; api_key=V"),
    ],
)  # fmt: skip
async def test_as_a_cookie_it_stands_beside_the_others(theirs: list[bytes], sent: bytes) -> None:
    to = request(fields=[(b"Cookie", value) for value in theirs])
    assert values(await applied(build(key(value="V", **{"in": "cookie"})), to), "Cookie") == [sent]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("s%3Aabc.d%2F+=", b"s%3Aabc.d%2F+="),
        ('a;b,c d"\\', b"a%3Bb%2Cc%20d%22%5C"),
        ("ä", b"%C3%A4"),
        ("{a}[b]", b"{a}[b]"),
    ],
)
async def test_a_cookie_copied_from_a_browser_is_not_encoded_again(value: str, sent: bytes) -> None:
    found = values(await applied(build(key(value=value, **{"in": "cookie"}))), "Cookie")
    assert found == [b"api_key=" + sent]


async def test_explaining_it_shows_prefix_and_place() -> None:
    to = request()
    await build(key(prefix="Key ", value="canary secret")).explain(to)
    assert values(to, "api_key") == [b"Key ***"]
    await build(key(value="canary secret")).explain(to)
    assert values(to, "api_key") == [b"***"]
    await build(key(value="canary", **{"in": "query"})).explain(to)
    assert target(to) == b"/base/x?a=1&api_key=***"
    await build(key(value="canary", prefix="p ", **{"in": "cookie"})).explain(to)
    assert values(to, "Cookie") == [b"api_key=p ***"]


@pytest.mark.parametrize(
    "keys",
    [{"name": "a[b]"}, {"name": "Host"}, {"name": "Content-Length"}, {"name": "a b"}, {"name": ""}, {"prefix": "\n"},
     {"in": "body"}, {"name": "a[b]", "in": "cookie"}],
)  # fmt: skip
def test_names_that_can_not_be(keys: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        parse(key(**keys))


def test_brackets_are_for_parameters() -> None:
    parse(key(name="filter[key]", **{"in": "query"}))


@pytest.mark.parametrize(("place", "left"), [("query", b"/x?a"), ("header", b"/x?k=v&a"), ("cookie", b"/x?k=v&a")])
async def test_only_a_key_in_the_query_is_taken_out_of_urls(place: str, left: bytes) -> None:
    scheme = build(key(**{"name": "k", "in": place}))
    assert scheme.without_credential(b"/x?k=v&a") == left
