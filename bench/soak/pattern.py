"""Bodies that both ends know: what is missing, doubled or another request's shows."""

from __future__ import annotations

import hashlib
from random import Random

_BLOCK = 4099  # bytes; a prime, so that no piece of a usual size looks like its neighbour


def pattern(seed: int, size: int) -> bytes:
    """Return the `size` bytes that `seed` means."""
    block = Random(seed).randbytes(min(_BLOCK, size))
    return (block * (size // _BLOCK + 1))[:size]


def digest(body: bytes) -> str:
    """Return what an API says of a body that came."""
    return f"{len(body)} {hashlib.sha256(body).hexdigest()}"
