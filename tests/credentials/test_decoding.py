"""What a third-party Auth reads is bounded after it is decoded, whatever its codings and whichever its library."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import brotlicffi
import httpx
import httpx2
import pytest

from proxy.credentials import _decoding
from proxy.credentials._decoding import bound
from proxy.credentials._foreign import ForeignScheme
from proxy.credentials._messages import READABLE
from proxy.errors import CredentialError
from tests.credentials import strangers, strangers2
from tests.credentials.doubles import Bench, content
from tests.doubles import Script, answer

LIBRARIES = [httpx, httpx2]
MIB = 1 << 20


def gzipped(size: int) -> bytes:
    """`size` bytes of zeros, compressed with little memory."""
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()


def brotli_bomb(size: int) -> bytes:
    packer = brotlicffi.Compressor(quality=5, lgwin=16)
    packed: bytes = b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.finish()
    return packed


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: gzipped(128 * MIB),
    "x-unknown, gzip": lambda: gzipped(128 * MIB),
    "deflate": lambda: zlib.compress(bytes(64 * MIB)),
    "br": lambda: brotli_bomb(32 * MIB),
    "gzip, gzip": lambda: gzip.compress(gzipped(128 * MIB)),
    "br, gzip": lambda: gzip.compress(brotli_bomb(32 * MIB)),
    "gzip, gzip, gzip": lambda: gzip.compress(gzip.compress(gzipped(128 * MIB))),
}


def response_of(library: Any, coding: str, body: bytes, limit: int = READABLE) -> Any:
    request = library.Request("GET", "http://api.test/")
    stream = library.ByteStream(body)
    response = library.Response(200, headers={"Content-Encoding": coding}, stream=stream, request=request)
    bound(response, limit)
    return response


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("coding", list(BOMBS))
def test_a_small_body_that_decodes_to_a_huge_one_is_refused_early(library: Any, coding: str) -> None:
    response = response_of(library, coding, BOMBS[coding]())
    tracemalloc.start()
    try:
        with pytest.raises(CredentialError, match="too large for this credential to read it"):
            response.read()
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_follows_an_inner_stream_s_end_counts_too(library: Any) -> None:
    body = gzip.compress(gzip.compress(b"small") + bytes(32 * MIB))
    started = time.process_time()
    with pytest.raises(CredentialError, match="too large"):
        response_of(library, "gzip, gzip", body).read()
    assert time.process_time() - started < 1, "it takes a time that grows with the square of the size"


@pytest.mark.parametrize("library", LIBRARIES)
def test_codings_without_end_are_refused(library: Any) -> None:
    many = ", ".join(["gzip"] * (_decoding.MOST + 1))
    with pytest.raises(CredentialError, match="more than 5 content codings"):
        response_of(library, many, b"x").read()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("br", brotlicffi.compress),
        ("br, gzip", lambda data: gzip.compress(brotlicffi.compress(data))),
        ("identity", bytes),
        ("unknown", bytes),
    ],
)
def test_what_is_within_the_bound_is_read_whole(library: Any, coding: str, pack: Callable[[bytes], bytes]) -> None:
    text = bytes(range(256)) * 400
    assert response_of(library, coding, pack(text), len(text)).read() == text
    assert response_of(library, coding, pack(b"")).read() == b""


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_can_not_be_decoded_is_the_library_s_error(library: Any) -> None:
    with pytest.raises(library.DecodingError):
        response_of(library, "gzip", b"no gzip").read()


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_private_names_of_the_library_are_still_there(library: Any) -> None:
    response = library.Response(200, headers={"Content-Encoding": "gzip"})
    assert response._get_content_decoder() is response._decoder
    assert _decoding._is_zlib(response._decoder) == (library is httpx)
    nested = library.Response(200, headers={"Content-Encoding": "deflate, gzip"})
    kinds = [type(child).__name__ for child in nested._get_content_decoder().children]
    assert kinds == ["GZipDecoder", "DeflateDecoder"], "in the order in which they are decoded"


@pytest.mark.parametrize("login", [strangers.Login, strangers2.Login])
async def test_an_auth_gets_no_huge_body_and_the_client_gets_the_response_as_it_was(login: Any) -> None:
    packed = gzipped(64 * MIB)
    elsewhere = Script(answer(200, [], b'{"token": "t"}'))
    scheme = ForeignScheme(login("https://login.test/token"))
    bench = Bench(scheme, answer(200, [(b"Content-Encoding", b"gzip")], packed), elsewhere=elsewhere)
    response = await bench()
    assert await content(response) == packed
    assert bench.story.failure == "renewal failed: the response is too large for this credential to read it"
