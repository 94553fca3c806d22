from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamProtocolError
from proxy.transport.parser import AnswerParser, Fields

OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Parsed:
    status: int
    reason: bytes
    version: bytes
    fields: Fields
    body: bytes
    complete: bool
    keep_alive: bool


def parser(*, head: bool = False, upgrade: bool = False, max_head: int = 4096) -> AnswerParser:
    made = AnswerParser(max_head=max_head, max_fields=16)
    made.start(bodiless=head, upgrade=upgrade)
    return made


def parsed(subject: AnswerParser) -> Parsed:
    return Parsed(
        subject.status, subject.reason, subject.version, subject.fields, b"".join(subject.pieces),
        subject.complete, subject.keep_alive,
    )  # fmt: skip


def parse(*pieces: bytes, head: bool = False, upgrade: bool = False) -> Parsed:
    subject = parser(head=head, upgrade=upgrade)
    for piece in pieces:
        subject.feed(piece)
    return parsed(subject)


WELL_FORMED = {
    "a length": (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "length 0": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "chunked": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n", b"hello!"),
    "trailers": (OK + b"Transfer-Encoding: Chunked \r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", b"hello"),
    "interim": (
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
        ),
        b"hi",
    ),
    "processing": (b"HTTP/1.1 102 Processing\r\nContent-Length: 0\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx", b"x"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", b"x"),
    "own reason": (b"HTTP/1.1 299 Caf\xe9\tau lait\r\nContent-Length: 1\r\n\r\nx", b"x"),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", b"old"),
    "bytes": (OK + b"A:\r\nB: \xff\t\x80\r\nA: 2\r\nContent-Length: 1 \r\n\r\n\0", b"\0"),
    "upgrade offered": (
        OK + b"Upgrade: h2,h2c\r\nConnection: Upgrade\r\nContent-Length: 3\r\n\r\nabc",
        b"abc",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "body"), WELL_FORMED.values(), ids=WELL_FORMED)
def test_a_well_formed_answer_is_complete_with_its_last_byte(data: bytes, body: bytes) -> None:
    subject = parser()
    subject.feed(data[:-1])
    assert not parsed(subject).complete
    subject.feed(data[-1:])
    assert parsed(subject).body == body
    assert parsed(subject).complete
    assert not subject.surplus


@given(st.sampled_from(list(WELL_FORMED.values())), st.data())
def test_where_the_stream_is_cut_makes_no_difference(answer: tuple[bytes, bytes], draw: st.DataObject) -> None:
    data, _ = answer
    cuts = draw.draw(st.lists(st.integers(1, len(data) - 1), unique=True).map(sorted))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert parse(*pieces) == parse(data)


def test_fields_keep_their_order_their_case_and_their_bytes() -> None:
    data, _ = WELL_FORMED["bytes"]
    assert parse(data).fields == [
        (b"A", b""), (b"B", b"\xff\t\x80"), (b"A", b"2"), (b"Content-Length", b"1 "),
    ]  # fmt: skip


def test_trailers_are_dropped() -> None:
    data, _ = WELL_FORMED["trailers"]
    assert parse(data).fields == [(b"Transfer-Encoding", b"Chunked ")]


def test_only_the_final_head_counts() -> None:
    data, _ = WELL_FORMED["interim"]
    seen = parse(data)
    assert (seen.status, seen.reason, seen.fields) == (200, b"OK", [(b"Content-Length", b"2")])


MALFORMED = {
    "garbage": b"\x15\x03\x01\x00\x02\x02\x28",
    "http/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "http/0.9": b"<html>",
    "version 2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version 1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "rtsp": b"RTSP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "an empty line first": b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "status 99": b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
    "status 1000": b"HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "ESC in the reason": b"HTTP/1.1 200 \x1b[2J\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": OK + b"A: \0\r\nContent-Length: 0\r\n\r\n",
    "CR in a value": OK + b"A: x\ry\r\nContent-Length: 0\r\n\r\n",
    "DEL in a value": OK + b"A: \x7f\r\nContent-Length: 0\r\n\r\n",
    **{
        f"control {control} in a value": OK + b"A: x%cy\r\nContent-Length: 0\r\n\r\n" % control
        for control in (*range(9), 10, 11, 12, *range(14, 32))
    },
    "control in a name": OK + b"A\x01: x\r\nContent-Length: 0\r\n\r\n",
    "space before the colon": OK + b"A : x\r\nContent-Length: 0\r\n\r\n",
    "a folded field": OK + b"A: x\r\n y\r\nContent-Length: 0\r\n\r\n",
    "no colon": OK + b"nothing\r\nContent-Length: 0\r\n\r\n",
    "both framings": OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both framings, turned": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
    "differing lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "a list of lengths": OK + b"Content-Length: 1, 1\r\n\r\nx",
    "a signed length": OK + b"Content-Length: +1\r\n\r\nx",
    "an empty length": OK + b"Content-Length:\r\n\r\nx",
    "a huge length": OK + b"Content-Length: 99999999999999999999\r\n\r\nx",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, chunked": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\n\r\n",
    "an obscured chunked": OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk without a size": OK + b"Transfer-Encoding: chunked\r\n\r\n\r\nx\r\n0\r\n\r\n",
    "a negative chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
    "a huge chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
    "a chunk that is too long": OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    "a length as trailer": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
    "a coding as trailer": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: x\r\n\r\n",
    "an unasked 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "100 with a length": b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello",
    "103 with chunks": b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a head without end": OK + b"A: " + b"a" * 5000,
    "a large head": OK + b"A: " + b"a" * 5000 + b"\r\nContent-Length: 0\r\n\r\n",
    "interim answers without end": b"HTTP/1.1 102 Processing\r\n\r\n" * 200,
    "many fields": OK + b"A: b\r\n" * 17 + b"Content-Length: 0\r\n\r\n",
    "large trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 1000,
    "a chunk extension without end": OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 5000,
}  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_could_be_read_in_two_ways_is_refused(data: bytes) -> None:
    for size in (1, 7, 1 << 20):
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        with pytest.raises(UpstreamProtocolError):
            parse(*pieces)


def test_an_error_says_what_was_wrong_but_not_what_was_sent() -> None:
    with pytest.raises(UpstreamProtocolError) as caught:
        parse(OK + b"Transfer-Encoding: canary\r\n\r\n")
    assert caught.value.detail == "an unknown or doubled Transfer-Encoding"


# -- where an answer ends ----------------------------------------------------------------------------


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    subject = parser()
    subject.feed(OK + b"\r\nsome")
    subject.feed(b" more")
    assert not subject.complete
    assert subject.finish()
    assert b"".join(subject.pieces) == b"some more"
    assert not subject.keep_alive


@pytest.mark.parametrize(
    "data", [b"", b"HTTP", OK, OK + b"Content-Length: 5\r\n\r\nhell", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"]
)  # fmt: skip
def test_the_end_of_the_connection_ends_no_other_answer(data: bytes) -> None:
    subject = parser()
    subject.feed(data)
    assert not subject.finish()


def test_a_length_that_no_memory_holds_is_still_a_length() -> None:
    subject = parser()
    subject.feed(OK + b"Content-Length: 18446744073709551615\r\n\r\nx")
    assert not subject.finish()


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"", b"Content-Length: 0\r\n"]
)
def test_the_answer_to_head_has_no_body_whatever_it_says(framing: bytes) -> None:
    subject = parser(head=True)
    subject.feed(OK + framing + b"\r\n")
    assert subject.complete
    assert subject.keep_alive
    assert not subject.surplus
    subject.start(bodiless=False, upgrade=False)
    subject.feed(OK + b"Content-Length: 1\r\n\r\nx")
    assert subject.complete
    assert subject.pieces == [b"x"]


@pytest.mark.parametrize("size", range(1, 8))
def test_the_answer_to_head_may_be_cut_anywhere(size: int) -> None:
    data = OK + b"Content-Length: 5\r\n\r\n"
    for start in range(size):
        subject = parser(head=True)
        for at in range(start - size, len(data), size):
            if data[max(at, 0) : at + size]:
                subject.feed(data[max(at, 0) : at + size])
        assert subject.complete
        assert not subject.surplus
        subject.feed(b"h")
        assert subject.surplus


def test_how_much_is_left_is_known_when_there_is_a_length() -> None:
    subject = parser()
    subject.feed(OK + b"Content-Length: 5\r\n\r\nhe")
    assert subject.rest == 3
    assert parser().rest is None


# -- what follows it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("surplus", [b"H", b"hello", b"HTTP/1.1 200 OK\r\n\r\n", OK + b"Content-Length: 1\r\n\r\ny"])
@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 1\r\n\r\nx",
        OK + b"Connection: close\r\nContent-Length: 1\r\n\r\nx",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ],
)
def test_bytes_after_the_end_belong_to_nothing(answer: bytes, surplus: bytes) -> None:
    for pieces in ((answer + surplus,), (answer, surplus), (answer[:-1], answer[-1:] + surplus)):
        subject = parser()
        for piece in pieces:
            subject.feed(piece)
        assert subject.surplus
        assert parsed(subject).body == b"x"
        assert subject.status == 200


@pytest.mark.parametrize("body", [b"hello", b"5\r\nhello\r\n0\r\n\r\n"])
@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_a_body_in_the_answer_to_head_is_surplus(framing: bytes, body: bytes) -> None:
    subject = parser(head=True)
    subject.feed(OK + framing + b"\r\n\r\n" + (body if body[:1] == b"5" or b"L" in framing else b"5\r\n" + body))
    assert subject.surplus
    assert not subject.pieces


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_a_204_that_speaks_of_a_body_is_not_trusted(framing: bytes) -> None:
    subject = parser()
    subject.feed(b"HTTP/1.1 204 No Content\r\n" + framing + b"\r\n\r\n")
    assert subject.complete
    assert not subject.keep_alive


def test_a_parser_serves_one_answer_after_the_other() -> None:
    subject = parser()
    for name, (data, body) in WELL_FORMED.items():
        if name == "old":
            continue
        subject.start(bodiless=False, upgrade=False)
        subject.feed(data)
        assert parsed(subject).body == body
        assert subject.keep_alive
        subject.pieces.clear()


# -- what the connection is good for -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (OK, True),
        (OK + b"Connection: keep-alive\r\n", True),
        (OK + b"Connection: close\r\n", False),
        (OK + b"Connection: x\r\nConnection: Keep-Alive, CLOSE\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
    ],
)
@pytest.mark.parametrize("bodiless", [True, False])
def test_the_upstream_says_whether_it_keeps_the_connection(head: bytes, kept: bool, bodiless: bool) -> None:
    assert parse(head + b"Content-Length: 0\r\n\r\n", head=bodiless).keep_alive is kept


def test_an_upgrade_leaves_what_follows_alone() -> None:
    subject = parser(upgrade=True)
    subject.feed(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi")
    assert (subject.status, subject.complete, subject.leftover) == (101, True, b"\x81\x02hi")


def test_an_upgrade_to_nothing_is_refused() -> None:
    with pytest.raises(UpstreamProtocolError):
        parse(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", upgrade=True)
