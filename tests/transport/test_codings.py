from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.transport.codings import decoded, readable_encodings


@pytest.mark.parametrize(
    ("accepted", "asked"),
    [
        (b"", b"identity"),
        (b" , ", b"identity"),
        (b"gzip", b"gzip"),
        (b"gzip, deflate", b"gzip, deflate"),
        (b"gzip, deflate, br, zstd", b"gzip, deflate"),
        (b"br;q=1.0, GZip;q=0.8, *;q=0.1", b"gzip;q=0.8, deflate;q=0.1"),
        (b"br", b"identity"),
        (b"br, zstd;q=0.9", b"identity"),
        (b"identity", b"identity"),
        (b"br, identity;q=0.5", b"identity"),
        (b"gzip;q=0.5, identity;q=0.9", b"gzip;q=0.5, identity;q=0.9"),
        (b"*", b"gzip, deflate"),
        (b"* ; q=0.5", b"gzip;q=0.5, deflate;q=0.5"),
        (b"gzip;q=0, *", b"gzip;q=0, deflate"),
        (b"gzip;q=0, deflate; q=0.000, br", b"identity"),
        (b"*;q=0", b"identity"),
        (b"gzip, *;q=0", b"gzip, *;q=0"),
        (b"br, *;q=0", b"identity"),
        (b"identity;q=0, br", b"identity"),
        (b"x-gzip, compress", b"x-gzip"),
        (b"br,gzip", b"gzip"),
    ],
)
def test_what_an_upstream_is_asked_for(accepted: bytes, asked: bytes) -> None:
    assert readable_encodings(accepted) == asked


MEMBERS = st.tuples(
    st.sampled_from(["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "compress", "identity", "*", ""]),
    st.sampled_from(["", ";q=1", "; q=0.5", ";q=0", ";Q=0.000", ";q=x"]),
)


@given(st.lists(MEMBERS, max_size=6))
def test_nothing_is_asked_for_that_can_not_be_read(members: list[tuple[str, str]]) -> None:
    asked = readable_encodings(", ".join(coding + weight for coding, weight in members).encode())
    codings = {member.partition(b";")[0] for member in asked.split(b", ")}
    assert asked
    assert codings <= {b"gzip", b"x-gzip", b"deflate", b"identity", b"*"}
    assert b"*" not in codings or b"*;q=0" in asked.lower()
    assert readable_encodings(asked) == asked


TEXT = b"because " * 20


def raw_deflate(text: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(text) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "body", "text"),
    [
        ("", TEXT, TEXT),
        ("identity", TEXT, TEXT),
        ("GZIP", gzip.compress(TEXT, mtime=0), TEXT),
        ("x-gzip, identity", gzip.compress(TEXT, mtime=0), TEXT),
        ("deflate", zlib.compress(TEXT), TEXT),
        ("deflate", raw_deflate(TEXT), TEXT),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT), mtime=0), TEXT),
        ("br", TEXT, b""),
        ("gzip, br", gzip.compress(TEXT, mtime=0), b""),
        ("gzip", TEXT, b""),
    ],
)
def test_what_is_read(encoding: str, body: bytes, text: bytes) -> None:
    assert decoded(body, encoding, 1000) == text


def test_no_more_is_unpacked_than_is_looked_at() -> None:
    bomb = gzip.compress(gzip.compress(bytes(1 << 24), mtime=0))
    assert len(decoded(bomb, "gzip, gzip", 1000)) <= 1000
