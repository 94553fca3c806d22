"""Names of parameters and cookies as servers read them, so that none of the client's is taken for one of ours.

Frameworks differ: ASP.NET overlooks the case, PHP makes an underscore of a dot or a space and an array of what has
brackets, some cut at a NUL or decode once more. A name is ours if any of them takes it for ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_UNDERSCORES = str.maketrans(". ", "__")


def plain(name: str) -> str:
    """Return a decoded name as the most lenient of servers has it, brackets included."""
    name = name.partition("\0")[0].strip().casefold().translate(_UNDERSCORES)
    return name if "]" in name else name.replace("[", "_", 1)


@lru_cache
def _plain_names(names: frozenset[str]) -> frozenset[str]:
    return frozenset(map(plain, names))


def plain_names(names: Iterable[str]) -> frozenset[str]:
    """Return names of ours, which are always the same few, as `is_among` wants them."""
    return _plain_names(frozenset(names))


def is_among(name: str, names: frozenset[str]) -> bool:
    """Whether a server may take a decoded name for one of `names`, which are plain ones."""
    name = plain(name)
    return name in names or name.partition("[")[0] in names
