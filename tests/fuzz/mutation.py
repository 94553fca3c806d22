"""Inputs like the seeds of a target, but not quite: the same ones for the same `Random`."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.fuzz import Target

ODD = (
    b"\x00", b"\r\n", b"\n", b"\t", b" ", b"\x7f", b"\x80", b"\xff", b"\xc0\xae", "\u2215".encode(), "\u00e9".encode(),
    b"%", b"%00", b"%2e", b"%2F", b"%25", b"..", b"/", b"\\", b";", b"#", b"?", b'"', b"'", b"{", b"}", b"[", b"]",
    b",",
    b":", b"=", b"-1", b"0", b"1e999", b"9" * 30, b"NaN", b"null", b"\\ud800", b"\xed\xa0\x80",
)  # fmt: skip
LARGEST = 4096  # bytes


def inputs(target: Target, random: Random) -> Iterator[bytes]:
    """Yield inputs without end, the seeds first."""
    yield from target.seeds
    words = target.words + ODD
    while True:
        data = bytearray(random.choice(target.seeds or (b"",)))
        for _ in range(random.choice((1, 1, 2, 3, 5, 8))):
            _mutate(data, target, words, random)
        yield bytes(data[:LARGEST])


def _mutate(data: bytearray, target: Target, words: tuple[bytes, ...], random: Random) -> None:
    at = random.randint(0, len(data))
    end = random.randint(at, min(len(data), at + random.choice((1, 4, 40))))
    match random.randrange(7):
        case 0:
            data[at:end] = b""
        case 1:
            data[at:at] = random.choice(words)
        case 2:
            data[at:end] = random.choice(words)
        case 3:
            data[at:at] = data[at:end] * random.choice((1, 2, 30))
        case 4:
            data[at:] = random.choice(target.seeds or (b"",))[at:]
        case 5:
            data[at:at] = random.randbytes(random.choice((1, 2, 8)))
        case _ if at < len(data):
            data[at] ^= 1 << random.randrange(8)


def long_inputs(target: Target, size: int) -> Iterator[bytes]:
    """Yield inputs of about `size` bytes, most of which is one word again and again."""
    for word in (*target.words, *ODD, b"a", b"<", b"a=", b'a="'):
        for seed in target.seeds[:1]:
            middle = len(seed) // 2
            yield (word * (size // len(word) + 1))[:size]
            yield seed[:middle] + (word * (size // len(word) + 1))[:size] + seed[middle:]
