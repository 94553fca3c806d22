from __future__ import annotations

import httpx
import pytest

from proxy.errors import InternalError
from proxy.transport.messages import RawHeaders
from proxy.transport.writer import CHUNKED, NO_BODY, HeadWriter, chunk

URL = httpx.URL("http://upstream.test/from/the/url?a=%2F")


def request(*fields: tuple[bytes, bytes], method: str = "GET", target: bytes | None = b"/a%2fb?") -> httpx.Request:
    extensions = {} if target is None else {"target": target}
    return httpx.Request(
        method, URL, headers=[(b"Host", b"h"), *fields], stream=httpx.ByteStream(b""), extensions=extensions
    )


def test_target_and_fields_are_sent_as_they_are() -> None:
    head, length, upgrade = HeadWriter()(request((b"x-A", b"1"), (b"X-a", b"\xff 2 "), (b"x-A", b""), method="PURGE"))
    assert head == b"PURGE /a%2fb? HTTP/1.1\r\nHost: h\r\nx-A: 1\r\nX-a: \xff 2 \r\nx-A: \r\n\r\n"
    assert (length, upgrade) == (NO_BODY, False)


def test_without_a_target_the_url_has_one() -> None:
    head, _, _ = HeadWriter()(request(target=None))
    assert head.startswith(b"GET /from/the/url?a=%2F HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("field", "length"),
    [
        ((b"Content-Length", b"5"), 5),
        ((b"content-length", b"0"), NO_BODY),
        ((b"Transfer-Encoding", b"chunked"), CHUNKED),
        ((b"TRANSFER-ENCODING", b" Chunked"), CHUNKED),
        ((b"Content-Lengthy", b"5"), NO_BODY),
        ((b"X-Custom-Thing", b"5"), NO_BODY),
        ((b"X-Custom-Encoding", b"chunked"), NO_BODY),
    ],
)
def test_the_fields_say_how_the_body_is_framed(field: tuple[bytes, bytes], length: int) -> None:
    assert HeadWriter()(request(field))[1] == length


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")],
        [(b"Content-Length", b"5"), (b"Content-Length", b"5")],
        [(b"Content-Length", b"+5")],
        [(b"Content-Length", b"")],
        [(b"Transfer-Encoding", b"gzip")],
        [(b"X", b"a\r\nContent-Length: 5")],
        [(b"X", b"a\nb")],
        [(b"X", b"a\rb")],
        [(b"X\r\nY", b"a")],
    ],
)
def test_a_request_that_could_become_two_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(InternalError):
        HeadWriter()(request(*fields))


def test_a_line_break_in_the_target_is_refused() -> None:
    with pytest.raises(InternalError):
        HeadWriter()(request(target=b"/ HTTP/1.1\r\nX: y"))


def test_an_upgrade_is_noted() -> None:
    assert HeadWriter()(request((b"uPGRADE", b"websocket")))[2]


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (b"/a?b", b"OPTIONS http://h:81/a?b HTTP/1.1"),
        (b"*", b"OPTIONS http://h:81 HTTP/1.1"),
    ],
)
def test_an_outgoing_proxy_gets_the_absolute_form_and_its_field(target: bytes, line: bytes) -> None:
    writer = HeadWriter(b"http://h:81", b"Proxy-Authorization: Basic eA==")
    head, _, _ = writer(request(method="OPTIONS", target=target))
    assert head == line + b"\r\nHost: h\r\nProxy-Authorization: Basic eA==\r\n\r\n"


def test_a_chunk_has_its_size_in_front() -> None:
    assert chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"


def test_fields_that_are_repeated_are_written_once_and_those_that_changed_anew() -> None:
    writer = HeadWriter()
    fields = [(b"Host", b"a"), (b"X", b"1")]
    asked = request(*fields)
    asked.headers = RawHeaders(fields)
    first = writer(asked)
    assert writer(asked) == first
    fields[1] = (b"X", b"2")
    assert writer(asked)[0] == first[0].replace(b"X: 1", b"X: 2")
    fields.append((b"Content-Length", b"5"))
    assert writer(asked)[1] == 5
    fields[1] = (b"X", b"2\r\nY: z")
    for _ in range(2):
        with pytest.raises(InternalError):
            writer(asked)
    fields[1] = (b"X", b"2")
    assert writer(asked)[1] == 5
