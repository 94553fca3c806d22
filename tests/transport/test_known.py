"""Heads that come again: what is made of them is the same, whether they were read or known."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from proxy.transport.known import KnownHead, KnownHeads, Repeated
from proxy.transport.parser import AnswerParser
from tests.transport.test_parser import Parsed, parsed

HEAD = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 5\r\n\r\n"


def answers(*sent: bytes, known: KnownHeads, head: bool = False) -> list[Parsed]:
    """What one connection makes of answers, each fed at once."""
    made = AnswerParser(max_head=4096, max_fields=16, known=known)
    seen = []
    for answer in sent:
        made.start(bodiless=head, upgrade=False)
        made.feed(answer)
        seen.append(parsed(made))
        made.pieces.clear()
    return seen


def test_a_head_that_came_before_is_known_by_other_connections_too() -> None:
    known = KnownHeads()
    first, second = answers(HEAD + b"hello", HEAD + b"world", known=known)
    (third,) = answers(HEAD + b"again", known=known)
    assert (first.body, second.body, third.body) == (b"hello", b"world", b"again")
    assert {astuple(each)[:3] + astuple(each)[5:] for each in (first, second, third)} == {
        (200, b"OK", b"HTTP/1.1", True, True)
    }
    assert type(second.fields) is type(third.fields) is Repeated
    assert second.fields is third.fields
    assert first.fields == [*second.fields]


def test_a_body_may_come_later_and_after_it_another_answer() -> None:
    made = AnswerParser(max_head=4096, max_fields=16)
    for pieces in ([HEAD + b"hello"], [HEAD, b"he", b"llo"], [HEAD + b"hel", b"lo"], [HEAD[:20], HEAD[20:] + b"hello"]):
        made.start(bodiless=False, upgrade=False)
        for piece in pieces:
            made.feed(piece)
        assert (parsed(made).body, made.complete, made.surplus) == (b"hello", True, False)
        made.pieces.clear()


@pytest.mark.parametrize("late", [b"", b"!"])
def test_what_follows_a_known_answer_is_surplus(late: bytes) -> None:
    made = AnswerParser(max_head=4096, max_fields=16)
    for sent in ([HEAD + b"hello"], [HEAD + b"hel", b"lo" + late], [HEAD + b"hello" + late]):
        made.start(bodiless=False, upgrade=False)
        for piece in sent:
            made.feed(piece)
        made.pieces.clear()
        assert made.complete
    assert made.surplus is bool(late)


def test_the_same_head_after_half_a_start_is_no_answer() -> None:
    known = KnownHeads()
    answers(HEAD + b"hello", known=known)
    made = AnswerParser(max_head=4096, max_fields=16, known=known)
    made.feed(b"H")
    with pytest.raises(Exception, match="does not start with"):
        made.feed(HEAD + b"hello")


def test_the_answer_to_a_head_request_has_no_body_whatever_is_known() -> None:
    known = KnownHeads()
    answers(HEAD + b"hello", known=known)
    (seen,) = answers(HEAD, known=known, head=True)
    assert (seen.body, seen.complete) == (b"", True)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + HEAD + b"hello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX: " + b"x" * 2048 + b"\r\n\r\na",
    ],
    ids=["chunks", "nothing", "not-modified", "the-last-one", "interim", "large"],
)
def test_only_simple_heads_are_learned(answer: bytes) -> None:
    known = KnownHeads()
    answers(answer, known=known)
    assert known == {}


def test_heads_that_never_come_again_are_hardly_tried() -> None:
    known = KnownHeads()
    learned = sum(known.worth_learning() for _ in range(64 + 1600))
    assert learned == 64 + 100
    known.credit += 1
    assert known.worth_learning()


def test_memory_is_bounded() -> None:
    known = KnownHeads()
    for number in range(1000):
        known.learn(b"%d" % number, KnownHead(200, b"OK", b"HTTP/1.1", Repeated([]), 0))
    assert len(known) <= 64


def test_what_one_made_is_nobody_elses() -> None:
    fields = Repeated([(b"A", b"b")])
    assert fields.made_by("me") is None
    fields.made = "me", 7
    assert (fields.made_by("me"), fields.made_by("you")) == (7, None)
