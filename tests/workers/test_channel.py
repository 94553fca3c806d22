"""Messages over a socket pair, and the sockets that come with them."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import pytest

from proxy.workers.channel import Channel, pair


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    made = pair()
    yield made
    for end in made:
        end.close()


Ends = tuple[Channel, Channel]


def test_messages_come_in_their_order_and_both_ways(ends: Ends) -> None:
    one, other = ends
    one.send("a")
    one.send({"b": [1, 2]})
    other.send(3)
    assert other.receive() == [("a", []), ({"b": [1, 2]}, [])]
    assert one.receive() == [(3, [])]
    assert one.receive() == []


def test_what_does_not_fit_waits_until_the_other_end_reads(ends: Ends) -> None:
    one, other = ends
    large = [bytes([number]) * 1_000_000 for number in range(3)]
    for each in large:
        one.send(each)
    found = []
    backlogs = [one.has_backlog]
    while backlogs[-1]:
        found += other.receive()
        one.flush()
        backlogs.append(one.has_backlog)
    found += other.receive()
    assert [message for message, _ in found] == large
    assert len(backlogs) > 1


def test_sockets_come_with_their_message_even_if_the_sender_has_closed_them(ends: Ends) -> None:
    one, other = ends
    one.send(b"x" * 3_000_000)
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [sock.getsockname()[1] for sock in listening]
    one.send("first", listening[:1])
    one.send("none")
    one.send("both", listening[1:])
    for sock in listening:
        sock.close()
    found: list[tuple[object, list[socket.socket]]] = []
    while len(found) < 4:
        found += other.receive()
        one.flush()
    assert [(message, [sock.getsockname()[1] for sock in sockets]) for message, sockets in found[1:]] == [
        ("first", ports[:1]), ("none", []), ("both", ports[1:]),
    ]  # fmt: skip
    for _, sockets in found:
        for sock in sockets:
            assert not os.get_inheritable(sock.fileno())
            sock.close()


def test_the_last_words_of_an_end_that_has_gone_are_heard(ends: Ends) -> None:
    one, other = ends
    one.send("last")
    one.close()
    assert other.receive() == [("last", [])]
    assert other.ended
    assert other.receive() == []


def test_half_a_message_of_an_end_that_has_gone_is_none(ends: Ends) -> None:
    one, other = ends
    with socket.socket() as sock:
        one.send(b"x" * 3_000_000, [sock])
    one.close()
    assert other.receive() == []
    assert other.ended


def test_nothing_is_said_to_an_end_that_has_gone(ends: Ends) -> None:
    one, other = ends
    other.close()
    with socket.socket() as sock:
        one.send("x", [sock])
    assert not one.has_backlog
    assert one.receive() == []
    assert one.ended


def test_what_was_not_read_by_an_end_that_has_gone_is_no_failure(ends: Ends) -> None:
    one, other = ends
    one.send("unread")
    other.close()
    assert one.receive() == []
    assert one.ended


def test_sockets_for_which_there_are_no_descriptors_are_missing_and_later_ones_come_with_their_message(
    ends: Ends,
) -> None:
    one, other = ends
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    one.send("lost", listening[:2])
    one.send("none")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        found = other.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == [("lost", []), ("none", [])]
    one.send("kept", listening[2:])
    ((message, (sock,)),) = other.receive()
    assert (message, sock.getsockname()) == ("kept", listening[2].getsockname())
    for each in (sock, *listening):
        each.close()
