"""What pages of allowed origins need to read answers."""

from __future__ import annotations

from proxy.gateway import RawHeaders
from proxy.gateway.cors import preflight, readable
from proxy.gateway.headers import read

ORIGIN = b"http://localhost:3000"


def values(fields: RawHeaders, name: bytes) -> list[bytes]:
    return [value for had, value in fields if had.lower() == name]


def test_a_preflight_gets_what_it_asks_for() -> None:
    head = read(
        [
            (b"Origin", ORIGIN),
            (b"Access-Control-Request-Method", b"PATCH"),
            (b"Access-Control-Request-Headers", b"x-a,x-b"),
            (b"access-control-request-headers", b"x-c"),
            (b"Access-Control-Request-Private-Network", b"true"),
        ]
    )
    answer = preflight(head, ORIGIN)
    assert (answer.status, answer.body) == (204, b"")
    assert values(answer.headers, b"access-control-allow-origin") == [ORIGIN]
    assert values(answer.headers, b"access-control-allow-methods") == [b"PATCH"]
    assert values(answer.headers, b"access-control-allow-headers") == [b"x-a,x-b, x-c"]
    assert values(answer.headers, b"access-control-allow-credentials") == [b"true"]
    assert values(answer.headers, b"access-control-allow-private-network") == [b"true"]
    assert b"Origin" in values(answer.headers, b"vary")[0]


def test_a_preflight_gets_no_more_than_that() -> None:
    answer = preflight(read([(b"Access-Control-Request-Method", b"GET")]), ORIGIN)
    assert values(answer.headers, b"access-control-allow-headers") == []
    assert values(answer.headers, b"access-control-allow-private-network") == []


def test_our_fields_stand_in_place_of_the_upstreams() -> None:
    fields = readable(
        [
            (b"access-control-allow-origin", b"*"),
            (b"ACCESS-CONTROL-ALLOW-ORIGIN", b"https://evil.test"),
            (b"Access-Control-Allow-Credentials", b"false"),
            (b"Access-Control-Expose-Headers", b"none"),
            (b"X-A", b"1"),
            (b"x-a", b"2"),
            (b"Vary", b"Accept"),
        ],
        ORIGIN,
    )
    assert fields[:3] == [(b"X-A", b"1"), (b"x-a", b"2"), (b"Vary", b"Accept")]
    assert values(fields, b"access-control-allow-origin") == [ORIGIN]
    assert values(fields, b"access-control-allow-credentials") == [b"true"]
    assert values(fields, b"access-control-expose-headers") == [b"x-a, vary"]
    assert values(fields, b"vary") == [b"Accept", b"Origin"]
