"""What may stand in a request target, and that nothing leaves the upstream's base path."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.errors import MalformedRequest
from proxy.gateway.target import check_bytes, check_path, split_absolute

DOTS = [
    "..", ".", ".%2e", "%2e.", "%2e", "%2E%2e", "%252e%252e", "%25252e.", "%%32e%%32e", "%2%65%2%65", "%c0%ae.",
    "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "%f0%80%80%ae.", "%f8%80%80%80%ae.", "%fc%80%80%80%80%ae.", "%c0%2e%c0%2e",
    "%c0.%c0.", "%c0%6e%c0%6e", "%c0%ee%c0%ee", "%25c0%25ae.", "%u002e%u002e", "%u002E.", "%25u002e.", "%uff0e%uff0e",
    "%ef%bc%8e%ef%bc%8e", "%e2%80%a4.", "%e2%80%a5", "..;", "..;x=1", ".;", "%2e%2e%3bx", "..%3b", "..%00", "..%00.jpg",
    "..%3f", "..%3fx", "..%23", "..%2500x", "%20..", "..%20", "..%09", ".%09.", ".%0a.", ".%0d%0a.", "..%0d%0a",
    "..%0b",
    "..%c0%80", "..%c0%bb", "..%c0%bfx", "%c0%a52e.", "%c0%a52e%c0%a52e", "..%c0%c0", "..%ff", "%fe..",
    "..%e2%80%8b", ".%c2%ad.", "%ef%bb%bf..", "..%a0", ".%e2%81%a0.", "%25c0%2580..", "%e0%80%a52e.",
    "%0c..", "%7f..", "..%1f", "..%ef%bc%9bx", "%00..", "%00%20.;x", "%2500..",
]  # fmt: skip
SLASHES = [
    "/", "//", "/./", "%2f", "%2F", "%252f", "%25252F", "%5c", "%5C", "%255c", "%c0%af", "%c0%2f", "%c0%6f", "%c1%9c",
    "%c1%1c", "%c1%5c", "%e0%80%af", "%e0%81%9c", "%f0%80%80%af", "%f8%80%80%80%af", "%25c0%25af", "%u002f", "%u005c",
    "%u2215", "%u2216", "%ef%bc%8f", "%ef%bc%bc", "%e2%88%95", "%e2%81%84",
]  # fmt: skip


@pytest.mark.parametrize("dots", DOTS)
def test_a_dot_segment_is_refused_however_it_is_spelt(dots: str) -> None:
    for slash in SLASHES:
        for path in (f"/a{slash}{dots}{slash}b", f"/a{slash}{dots}", f"/{dots}{slash}b", f"/{dots}"):
            with pytest.raises(MalformedRequest):
                check_path(path.encode())


@pytest.mark.parametrize("dots", ["%ef%bc%852e.", "%ef%bc%852e%ef%bc%852e", ".%c1.", ".%c1%c1.", "%ef%bc%85252e."])
def test_one_that_some_readers_only_see_too(dots: str) -> None:
    for slash in ("/", "%2f", "%5C", "%252f"):
        with pytest.raises(MalformedRequest):
            check_path(f"/a{slash}{dots}{slash}b".encode())


@pytest.mark.parametrize(
    "path",
    [
        "*", "/", "//", "/a//b/", "/...", "/....", "/.a", "/a.", "/..a", "/a..", "/.well-known/x", "/.git",
        "/a;v=1/b", "/a;..", "/;", "/a%2fb", "/@scope%2fname", "/a%5cb", "/%", "/100%", "/%zz", "/%2", "/a%20b", "/%e4",
        "/%c3%a4", "/a%00b", "/a%252fb", "/%e2%80%a6", "/x..%2fy", "/%u0041", "/%ud800", "/.%2e%2e", "/a%3f..",
        "/:..", "/~",
        "/%c0", "/%c0a", "/%c0%c0", "/caf%e9", "/%e9t%e9", "/%c1%c0", "/%e0%80", "/%e2%80%8b", "/a%c0%80b",
        "/%ef%bc%85", "/%c1", "/%f0%9f%98%80", "/a%0ab",
    ],
)  # fmt: skip
def test_everything_else_passes(path: str) -> None:
    check_path(path.encode())


@pytest.mark.parametrize("times", [9, 20, 200])
def test_what_is_encoded_again_and_again_is_refused(times: int) -> None:
    with pytest.raises(MalformedRequest):
        check_path(b"/%" + b"25" * times + b"2e")


def test_raw_bytes_that_must_be_encoded_are_refused() -> None:
    for byte in (*range(0x21), *range(0x7F, 0x100), ord("#"), ord("\\")):
        with pytest.raises(MalformedRequest):
            check_bytes(b"/a" + bytes([byte]) + b"b")


def test_all_others_pass() -> None:
    check_bytes(bytes(byte for byte in range(0x21, 0x7F) if byte not in b"#\\"))


def test_an_empty_target_is_refused() -> None:
    with pytest.raises(MalformedRequest):
        check_bytes(b"")


# -- the law: whatever passes stays below the base ---------------------------------------------------------


def resolved(path: bytes) -> list[bytes]:
    """Segments as a lenient server has them, or a failure if they climb out."""
    segments: list[bytes] = []
    for segment in re.split(rb"[/\\]", path):
        plain = re.split(rb"[;?#\x00]", segment)[0]
        if plain == b"..":
            assert segments, path
            segments.pop()
        elif plain not in (b"", b"."):
            segments.append(plain)
    return segments


PIECES = st.sampled_from(
    [*DOTS, *SLASHES, "a", "%", "%25", "25", "2e", "2f", "c0", "%c0", "ae", ".", "..", "/", ";", "%3b", "%00", "%u"]
)
PATHS = st.lists(PIECES, max_size=12).map(lambda pieces: "/" + "".join(pieces)) | st.text(
    "/.%25eEfFcC0;aA\\u", max_size=30
).map(lambda text: "/" + text)


@given(PATHS, st.sampled_from([b"", b"/v1", b"/deep/er"]))
@example("/%2e%2e/x", b"/v1")
@example("/..%3f", b"/v1")
def test_whatever_passes_stays_below_the_base_path(text: str, base: bytes) -> None:
    path = text.encode()
    try:
        check_bytes(path)
        check_path(path)
    except MalformedRequest:
        return
    seen = base + path
    for _ in range(12):
        assert resolved(seen)[: len(resolved(base))] == resolved(base)
        # Without any climbing at all: the part below the base alone is none either.
        resolved(seen[len(base) :])
        seen = unquote_to_bytes(seen)


@given(st.binary())
def test_any_bytes_are_judged_without_a_fault(path: bytes) -> None:
    for check in (check_bytes, check_path):
        try:
            check(b"/" + path)
        except MalformedRequest:
            continue


# -- absolute form -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"http://a/", (b"http", b"a", b"/")),
        (b"HTTPS://A:1/b?c", (b"https", b"A:1", b"/b?c")),
        (b"http://a", (b"http", b"a", b"/")),
        (b"http://a?q", (b"http", b"a", b"/?q")),
        (b"http://", (b"http", b"", b"/")),
        (b"http:///x", (b"http", b"", b"/x")),
        (b"http://u:p@a/x", (b"http", b"u:p@a", b"/x")),
        (b"http://[::1]:80/x", (b"http", b"[::1]:80", b"/x")),
        (b"http://a//b", (b"http", b"a", b"//b")),
        (b"ftp://a/", None),
        (b"http:/a", None),
        (b"http:a", None),
        (b"a:443", None),
        (b"*", None),
        (b"", None),
        (b"x", None),
        (b"http://a/#b", None),
    ],
)
def test_the_parts_of_an_absolute_target(target: bytes, parts: tuple[bytes, bytes, bytes] | None) -> None:
    assert split_absolute(target) == parts


# -- no target is long enough to keep it busy ------------------------------------------------------------------


def seconds(path: bytes) -> float:
    began = time.process_time()
    with suppress(MalformedRequest):
        check_path(path)
    return time.process_time() - began


UNITS = [
    quote("\u0315\u0300"), quote(quote("\u0315\u0300")), "%u0315%u0300", "%c0%80%cc%95%cc%80",
    quote("\U0001d165\U0001d16e"),
    quote("a" + "\u0315\u0300" * 15), quote("\ufdfa"), quote("\u200b"), "%2525", "/.a", ";.", "%c0%ae",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_ten_times_the_usual_length_takes_no_longer_than_that(unit: str) -> None:
    assert seconds(b"/" + unit.encode() * (320_000 // len(unit))) < 5  # some took a minute


@given(st.lists(st.sampled_from([*UNITS, "/", "%", "%25", "x", quote("\u0344")]), min_size=1, max_size=4).map("".join))
@settings(deadline=None, max_examples=25)
def test_no_mixture_takes_long(unit: str) -> None:
    assert seconds(b"/" + unit.encode() * (60_000 // len(unit))) < 3


def test_a_letter_may_have_thirty_marks() -> None:
    check_path(b"/" + quote("a" + "\u0315\u0300" * 15).encode())
    with pytest.raises(MalformedRequest, match="combining marks"):
        check_path(b"/" + quote("a" + "\u0315\u0300" * 15 + "\u0300").encode())
