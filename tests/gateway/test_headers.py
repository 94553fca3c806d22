"""Which fields go on, in both directions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.gateway import RawHeaders
from proxy.gateway.headers import (
    RequestHeaders,
    RequestRules,
    ResponseHeaders,
    ResponseRules,
    read,
    tokens,
    wants_websocket,
)

HOP = [
    b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Trailer", b"Transfer-Encoding", b"Upgrade",
    b"HTTP2-Settings", b"Proxy-Authenticate", b"Proxy-Authentication-Info",
]  # fmt: skip
OURS = [b"Host", b"Expect", b"Proxy-Authorization", b"X-Countersign-Token"]
UPGRADE = [(b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"WebSocket")]

NAMES = st.text("abcdefgXYZ0189-_.!#$%&'*+^`|~", min_size=1, max_size=20).map(str.encode)
VALUES = st.binary(max_size=30).map(lambda value: value.translate(None, bytes({*range(32), 127} - {9})))


def rules(remove: Iterable[str] = (), **fields: str) -> RequestRules:
    return RequestRules(set={name.replace("_", "-"): value for name, value in fields.items()}, remove=tuple(remove))


def outbound(raw: RawHeaders, made: RequestHeaders | None = None, **options: bool) -> RawHeaders:
    made = made or RequestHeaders(b"api.test", RequestRules())
    options = {"chunked": False, "websocket": False, "keep_authorization": False, **options}
    return made.outbound(read(raw), **options)


def inbound(raw: RawHeaders, made: ResponseHeaders | None = None) -> RawHeaders:
    return (made or ResponseHeaders(ResponseRules())).inbound(raw)[0]


# -- of requests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*HOP, *OURS])
@pytest.mark.parametrize("spelt", [bytes, bytes.lower, bytes.upper])
def test_what_is_for_this_hop_does_not_go_on(name: bytes, spelt: Any) -> None:
    assert outbound([(spelt(name), b"x"), (b"Accept", b"*/*")]) == [(b"Host", b"api.test"), (b"Accept", b"*/*")]


@pytest.mark.parametrize(
    "name",
    [
        b"Content_Length", b"CONTENT_LENGTH", b"Transfer_Encoding", b"transfer_encoding", b"Proxy_Authorization",
        b"X_Countersign_Token", b"X-Countersign_Token", b"x_countersign-token", b"HTTP2_Settings",
        b"Keep_Alive", b"Proxy_Connection",
    ],
)  # fmt: skip
def test_look_alikes_are_dropped(name: bytes) -> None:
    assert outbound([(name, b"5")]) == [(b"Host", b"api.test")]


@pytest.mark.parametrize("name", [b"X_Custom", b"content_type", b"_", b"host_name", b"te_"])
def test_other_underscores_are_the_clients(name: bytes) -> None:
    assert outbound([(name, b"5")])[1:] == [(name, b"5")]


@pytest.mark.parametrize(
    "name", [b"Content-Length", b"Authorization", b"Origin", b"Sec-Fetch-Site", b"Idempotency-Key"]
)
def test_what_the_guard_wants_to_see_is_seen_and_stays(name: bytes) -> None:
    head = read([(name, b"1"), (name.upper(), b"2")])
    assert head.fields == [(name, b"1"), (name.upper(), b"2")]
    assert head.special == {name.lower(): [b"1", b"2"]}
    assert head.first(name.lower()) == b"1"
    assert head.first(b"host") is None


@pytest.mark.parametrize(
    "name",
    [b"X_HTTP_Method_Override", b"X-HTTP-Method_Override", b"X.Http.Method.Override", b"x~http_METHOD!override"],
)
def test_look_alikes_of_what_is_judged_are_judged_and_go_on(name: bytes) -> None:
    head = read([(name, b"DELETE"), (b"X-HTTP-Method-Override", b"PUT")])
    assert head.special == {b"x-http-method-override": [b"DELETE", b"PUT"]}
    assert head.fields == [(name, b"DELETE"), (b"X-HTTP-Method-Override", b"PUT")]


def test_look_alikes_say_nothing_in_favour_of_a_request() -> None:
    head = read([(b"Idempotency_Key", b"1"), (b"Access_Control.Request-Method", b"PUT"), (b"sec_fetch_site", b"x")])
    assert head.special == {b"sec-fetch-site": [b"x"]}
    assert len(head.fields) == 3


@pytest.mark.parametrize(
    ("connection", "kept"),
    [
        ([b"X-Mine"], []),
        ([b"close, x-mine"], []),
        ([b"close", b" X-MINE ,"], []),
        ([b"x-min"], [b"X-Mine"]),
        ([b"close"], [b"X-Mine"]),
        ([b"Keep-Alive"], [b"X-Mine"]),
        ([b"upgrade, close"], [b"X-Mine"]),
        ([b""], [b"X-Mine"]),
        ([b",,"], [b"X-Mine"]),
    ],
)
def test_what_connection_names_is_dropped(connection: list[bytes], kept: list[bytes]) -> None:
    raw = [(b"X-Mine", b"1"), *((b"Connection", value) for value in connection)]
    assert [name for name, _ in outbound(raw)[1:]] == kept


def test_connection_cant_name_the_framing_away() -> None:
    raw = [(b"Content-Length", b"3"), (b"Connection", b"content-length, host, transfer-encoding")]
    assert outbound(raw) == [(b"Host", b"api.test"), (b"Content-Length", b"3")]


def test_connection_cant_hide_anything_from_the_guard() -> None:
    seen = [b"origin", b"sec-fetch-site", b"authorization", b"content-length", b"host", b"transfer-encoding", b"expect"]
    head = read([*((name, b"x") for name in seen), (b"Connection", b", ".join(seen))])
    assert set(head.special) == {*seen, b"connection"}


def test_a_key_that_does_not_go_on_makes_no_repetition_safe() -> None:
    head = read([(b"Idempotency-Key", b"1"), (b"Connection", b"close, Idempotency-Key")])
    assert b"idempotency-key" not in head.special
    assert head.fields == []
    assert b"idempotency-key" in read([(b"Idempotency-Key", b"1"), (b"Connection", b"close")]).special


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_order_duplicates_and_bytes_survive(raw: RawHeaders) -> None:
    gone = {name.lower() for name in (*HOP, *OURS)}
    alike = gone | {b"content-length"}
    named = {token for name, value in raw if name.lower() == b"connection" for token in tokens([value])}
    sent = outbound(raw)[1:]
    assert sent == [
        (name, value)
        for name, value in raw
        if name.lower() not in gone | named and not (b"_" in name and name.lower().replace(b"_", b"-") in alike)
    ]
    assert all(any(field is had for had in raw) for field in sent)


def test_nothing_of_the_framing_is_made_up() -> None:
    assert outbound([], chunked=True)[1:] == [(b"Transfer-Encoding", b"chunked")]
    assert outbound([(b"transfer-encoding", b"chunked")], chunked=True)[1:] == [(b"Transfer-Encoding", b"chunked")]
    assert outbound(UPGRADE, websocket=True)[1:] == [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]


def test_the_upstreams_host_stands_first_and_alone() -> None:
    assert outbound([(b"A", b"1"), (b"host", b"localhost"), (b"HOST", b"evil")]) == [
        (b"Host", b"api.test"),
        (b"A", b"1"),
    ]


# -- a route's rules -------------------------------------------------------------------------------------


def test_a_field_that_is_set_replaces_the_clients_in_every_spelling() -> None:
    made = RequestHeaders(b"api.test", rules(User_Agent="acme/1"))
    sent = outbound([(b"user-agent", b"x"), (b"USER_AGENT", b"x"), (b"User-Agent", b"y"), (b"A", b"1")], made)
    assert sent[1:] == [(b"A", b"1"), (b"User-Agent", b"acme/1")]


def test_a_field_that_is_removed_is_gone_in_every_spelling() -> None:
    made = RequestHeaders(b"api.test", rules(["Cookie", "x-a_b"]))
    sent = outbound([(b"cookie", b"x"), (b"COOKIE", b"x"), (b"X-A-B", b"1"), (b"x_a_b", b"1"), (b"B", b"1")], made)
    assert sent[1:] == [(b"B", b"1")]


def test_what_the_credential_sets_is_kept_out() -> None:
    made = RequestHeaders(b"api.test", RequestRules(), drop=[b"authorization", b"x-api-key"])
    raw = [(b"AUTHORIZATION", b"1"), (b"X_Api_Key", b"1"), (b"x-api-key", b"1"), (b"X-Api_Key", b"1")]
    assert outbound(raw, made)[1:] == []
    assert outbound(raw, made, keep_authorization=True)[1:] == [(b"AUTHORIZATION", b"1")]


@pytest.mark.parametrize("made", [rules(Authorization="ours"), rules(["authorization"])])
def test_a_rule_outdoes_keeping_the_clients_authorization(made: RequestRules) -> None:
    headers = RequestHeaders(b"api.test", made, drop=[b"authorization"])
    sent = outbound([(b"Authorization", b"theirs")], headers, keep_authorization=True)
    assert (b"Authorization", b"theirs") not in sent
    assert len(sent) == 1 + len(made.set)


def test_a_host_that_is_set_stands_in_place_of_the_upstreams() -> None:
    made = RequestHeaders(b"api.test", rules(host="vhost.test"))
    assert outbound([(b"Host", b"localhost")], made) == [(b"host", b"vhost.test")]


def test_values_of_rules_are_utf8() -> None:
    assert outbound([], RequestHeaders(b"h", rules(X="ü")))[1:] == [(b"X", "ü".encode())]


@pytest.mark.parametrize(
    "wrong",
    [
        {"set": {"": "x"}},
        {"set": {"A b": "x"}},
        {"set": {"A:": "x"}},
        {"set": {"A\r\nB": "x"}},
        {"set": {"Ä": "x"}},
        {"set": {"A": "x\r\nB: y"}},
        {"set": {"A": "x\x00"}},
        {"set": {"A": "x\n"}},
        {"set": {"A": "\x7f"}},
        {"set": {"A": " x"}},
        {"set": {"Content-Length": "1"}},
        {"set": {"content_length": "1"}},
        {"set": {"Transfer-Encoding": "chunked"}},
        {"set": {"Connection": "close"}},
        {"set": {"Upgrade": "h2c"}},
        {"set": {"TE": "trailers"}},
        {"remove": ["Content-Length"]},
        {"remove": ["A b"]},
        {"remove": [""]},
        {"add": {}},
    ],
)
def test_rules_that_would_break_a_message_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RequestRules.model_validate(wrong)


def test_a_secret_is_set_later_and_replaces_the_clients_field_all_the_same() -> None:
    made = RequestHeaders(b"api.test", RequestRules.model_validate({"set": {"X-Key": {"env": "KEY"}, "X-A": "1"}}))
    assert RequestRules.model_validate({"set": {"X-Key": {"literal": "$x"}}}).set["X-Key"] != "$x"
    assert outbound([(b"x_key", b"theirs"), (b"X-KEY", b"theirs")], made)[1:] == [(b"X-A", b"1")]


def test_a_response_can_not_be_given_a_secret() -> None:
    with pytest.raises(ValidationError):
        ResponseRules.model_validate({"set": {"X-Key": {"env": "KEY"}}})


def test_fields_to_remove_may_stand_in_one_variable() -> None:
    assert RequestRules.model_validate({"remove": "Cookie, X-A"}).remove == ("Cookie", "X-A")


# -- of answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOP)
def test_what_was_for_the_upstreams_hop_does_not_come_back(name: bytes) -> None:
    assert inbound([(name, b"x"), (name.lower(), b"y"), (b"ETag", b'"1"')]) == [(b"ETag", b'"1"')]


def test_what_the_upstreams_connection_names_is_dropped() -> None:
    raw = [
        (b"X-Mine", b"1"),
        (b"Content-Length", b"1"),
        (b"connection", b"close, x-mine"),
        (b"Connection", b"content-length"),
    ]
    assert inbound(raw) == [(b"Content-Length", b"1")]
    assert inbound([(b"A", b"1"), (b"Connection", b"close")]) == [(b"A", b"1")]


def test_rules_of_answers() -> None:
    made = ResponseHeaders(ResponseRules(set={"X-Frame": "no"}, remove=("Server",)), drop=[b"set-cookie"])
    raw = [(b"SERVER", b"x"), (b"x-frame", b"yes"), (b"Set-Cookie", b"a=b"), (b"set-cookie", b"c=d"), (b"A", b"1")]
    assert inbound(raw, made) == [(b"A", b"1"), (b"X-Frame", b"no")]


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_order_duplicates_and_bytes_of_answers_survive(raw: RawHeaders) -> None:
    gone = {name.lower() for name in HOP}
    assert inbound([*raw, (b"Connection", b"close")]) == [field for field in raw if field[0].lower() not in gone]


# -- lists and upgrades ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "wanted"),
    [([], []), ([b""], []), ([b" , ,"], []), ([b"A ,b", b"\tC"], [b"a", b"b", b"c"]), ([b"a b"], [b"a b"])],
)
def test_members_of_a_list(values: list[bytes], wanted: list[bytes]) -> None:
    assert tokens(values) == wanted


@pytest.mark.parametrize(
    ("method", "version", "raw", "wanted"),
    [
        ("GET", (1, 1), UPGRADE, True),
        ("GET", (1, 1), [(b"connection", b"Upgrade"), (b"upgrade", b"h2c, websocket")], True),
        ("POST", (1, 1), UPGRADE, False),
        ("get", (1, 1), UPGRADE, False),
        ("GET", (1, 0), UPGRADE, False),
        ("GET", (1, 1), [(b"Upgrade", b"websocket")], False),
        ("GET", (1, 1), [(b"Connection", b"upgrade")], False),
        ("GET", (1, 1), [(b"Connection", b"close"), (b"Upgrade", b"websocket")], False),
        ("GET", (1, 1), [(b"Connection", b"upgrade"), (b"Upgrade", b"h2c")], False),
        ("GET", (1, 1), [(b"Connection", b"upgrade"), (b"Upgrade", b"websockets")], False),
        ("GET", (1, 1), [*UPGRADE, (b"Content-Length", b"0")], False),
        ("GET", (1, 1), [*UPGRADE, (b"Transfer-Encoding", b"chunked")], False),
    ],
)
def test_only_a_websocket_handshake_is_followed(
    method: str, version: tuple[int, int], raw: RawHeaders, *, wanted: bool
) -> None:
    assert wants_websocket(method, version, read(raw)) is wanted
