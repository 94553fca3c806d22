"""Content codings of responses that a third-party Auth reads: as its library decodes them, but bounded in size.

1 MiB of gzip may become 1 GiB, and each further coding multiplies that again. So each coding is given small pieces,
and its output is counted before the next one gets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from proxy.errors import CredentialError

MOST = 5  # codings of one response
# Bytes for one call: one byte of deflate becomes at most 1,032 bytes, some ten bytes of Brotli as many as 16 MiB.
_LARGE_STEP, _ZLIB_STEP, _SMALL_STEP = 1 << 16, 1024, 16
_ZLIB = ("GZipDecoder", "DeflateDecoder")
_TOO_LARGE = "the response is too large for this credential to read it"


def bound(response: Any, limit: int) -> None:  # Any: httpx's class, or that of a library like it
    """Let no coding of a response's body decode more than `limit` bytes; beyond, reading it is a `CredentialError`."""
    codings = response.headers.get_list("content-encoding", split_commas=True)
    if codings:
        returns_bytes = type(response).__module__.partition(".")[0] == "httpx"
        layers = _layers(response, limit) if len(codings) <= MOST else None
        response._decoder = _Bounded(layers, returns_bytes=returns_bytes)


def _layers(response: Any, limit: int) -> list[_Layer]:  # Any: as above
    decoder = response._get_content_decoder()
    return [_Layer(child, limit) for child in getattr(decoder, "children", None) or [decoder]]


def _step(decoder: Any) -> int:  # Any: as above
    """Return how many bytes a decoder gets at a time."""
    if type(decoder).__module__.partition(".")[0] != "httpx":
        return _LARGE_STEP  # httpx2's return what they decode in pieces
    return _ZLIB_STEP if _is_zlib(decoder) else _SMALL_STEP


def _is_zlib(decoder: Any) -> bool:  # Any: as above
    return hasattr(getattr(decoder, "decompressor", None), "eof") and type(decoder).__name__ in _ZLIB


class _Layer:
    """One coding, the outermost first."""

    def __init__(self, decoder: Any, limit: int) -> None:  # Any: as above
        self._coding = decoder
        self._left = limit
        self._is_zlib = _is_zlib(decoder)
        self._step = _step(decoder)

    def decode(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            for start in range(0, len(piece), self._step):
                if self._is_zlib and self._coding.decompressor.eof:
                    break  # zlib would keep what follows the end, and copy all of it for each further piece
                yield from self._counted(self._coding.decode(piece[start : start + self._step]))

    def flush(self) -> Iterator[bytes]:
        yield from self._counted(self._coding.flush())

    def _counted(self, decoded: bytes | Iterable[bytes]) -> Iterator[bytes]:
        for piece in (decoded,) if isinstance(decoded, bytes) else decoded:
            self._left -= len(piece)
            if self._left < 0:
                raise CredentialError(_TOO_LARGE)
            if piece:
                yield piece


class _Bounded:
    """The decoder of a response, with its library's methods: httpx's return bytes, httpx2's iterators."""

    def __init__(self, layers: list[_Layer] | None, *, returns_bytes: bool) -> None:
        self._layers = layers
        self._returns_bytes = returns_bytes

    def decode(self, data: bytes) -> bytes | Iterator[bytes]:
        """Decode a piece of the body."""
        pieces: Iterator[bytes] = iter((data,))
        for layer in self._checked():
            pieces = layer.decode(pieces)
        return self._returned(pieces)

    def flush(self) -> bytes | Iterator[bytes]:
        """Decode what is left at the end of the body."""
        return self._returned(self._rest())

    def _rest(self) -> Iterator[bytes]:
        pieces: list[bytes] = []
        for layer in self._checked():
            pieces = [*layer.decode(pieces), *layer.flush()]
        yield from pieces

    def _checked(self) -> list[_Layer]:
        if self._layers is None:
            raise CredentialError(f"the response has more than {MOST} content codings")
        return self._layers

    def _returned(self, pieces: Iterator[bytes]) -> bytes | Iterator[bytes]:
        return b"".join(pieces) if self._returns_bytes else pieces
