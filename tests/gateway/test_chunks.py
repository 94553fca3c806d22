from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.chunks import Chunks

BEHIND = b"GET /behind HTTP/1.1\r\n\r\n"

chunk = st.tuples(
    st.binary(min_size=1, max_size=40),
    st.sampled_from([b"", b";a", b';a="b c"', b"; q"]),
    st.sampled_from([b"%x", b"%X", b"000%x"]),
).map(lambda of: of[2] % len(of[0]) + of[1] + b"\r\n" + of[0] + b"\r\n")
bodies = st.builds(
    lambda chunks, last, trailers: b"".join(chunks) + last + b"\r\n" + b"".join(trailers) + b"\r\n",
    st.lists(chunk, max_size=5),
    st.sampled_from([b"0", b"000", b"0;x"]),
    st.lists(st.sampled_from([b"A: b\r\n", b"Digest: 0\r\n"]), max_size=2),
)


@given(bodies, st.lists(st.integers(1, 30), min_size=1))
def test_a_body_ends_where_it_ends_however_it_comes(body: bytes, sizes: list[int]) -> None:
    chunks, data, at, start = Chunks(1000), body + BEHIND, 0, 0
    for size in sizes * len(data):
        piece = data[start : start + size]
        at = start + chunks.end(piece, 0)
        if chunks.ended:
            break
        start += size
    assert (at, chunks.too_large) == (len(body), False)


@given(bodies)
def test_it_may_begin_anywhere_in_what_has_come(body: bytes) -> None:
    chunks = Chunks(1000)
    assert chunks.end(b"head" + body + BEHIND, 4) == 4 + len(body)
    assert chunks.ended


@pytest.mark.parametrize(
    ("pieces", "too_large"),
    [
        ([b"1;" + b"a" * 90 + b"\r\nx\r\n"], False), ([b"1;" + b"a" * 120 + b"\r\nx\r\n"], True),
        ([b"1;" + b"a" * 60, b"a" * 60], True), ([b"1;" + b"a" * 70 + b"\r\nx\r\n"] * 3, True),
        ([b"0\r\nA: " + b"b" * 90 + b"\r\n\r\n"], False), ([b"0\r\nA: " + b"b" * 100 + b"\r\n\r\n"], True),
        ([b"0\r\n", *[b"A: b\r\n"] * 20], True), ([b"0\r\nA: ", b"b" * 60, b"b" * 60], True),
        ([b"1\r\nx\r\n"] * 1000, False), ([b"0000000000000001\r\nx\r\n"] * 100, False),
        ([b"ff\r\n" + bytes(255) + b"\r\n"], False),
    ],
)  # fmt: skip
def test_extensions_and_trailers_have_a_limit_and_content_has_none(pieces: list[bytes], too_large: bool) -> None:
    chunks = Chunks(100)
    for piece in pieces:
        chunks.end(piece, 0)
    assert chunks.too_large is too_large


@pytest.mark.parametrize(
    "body", [b"x\r\n", b"-1\r\n", b"1 \r\n", b"1\n", b"\r\n", b"0x1\r\n", b"fffffffffffffffff\r\n"]
)
def test_what_is_malformed_does_not_end(body: bytes) -> None:
    chunks = Chunks(100)
    assert chunks.end(body, 0) == len(body)
    assert not chunks.ended
