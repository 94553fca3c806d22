"""Heads of answers that an origin repeats byte for byte: they are read once.

Under load an API says the same again and again, but for the second in its Date. What was made of a head is kept with
its fields, by whoever made it; an origin whose heads are never the same is not remembered for long.
"""

from __future__ import annotations

from typing import Any, NamedTuple

_MOST = 64  # heads that are remembered, …
LARGEST = 2048  # … and bytes of one
_RARELY = 16  # of so many heads one is still tried where none came again


class Repeated(list[tuple[bytes, bytes]]):
    """Fields that came before and will come again; they must not be changed.

    Attributes:
        made: what was made of them, and by whom: only who put it there knows what it is.

    """

    __slots__ = ("made",)

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        super().__init__(fields)
        self.made: tuple[object, Any] | None = None  # Any: see above

    def made_by(self, maker: object) -> Any:  # Any: see above
        """Return what `maker` made of them, None if it has not."""
        made = self.made
        return made[1] if made is not None and made[0] is maker else None


class KnownHead(NamedTuple):
    """A head, read; its answer has a body of a known length, and leaves the connection open.

    Attributes:
        idle_time: as `AnswerParser.idle_time`.

    """

    status: int
    reason: bytes
    version: bytes
    fields: Repeated
    length: int
    idle_time: float | None = None


class KnownHeads(dict[bytes, KnownHead]):
    """Heads of one origin, by their bytes.

    Attributes:
        credit: how many more are learned before one has to come again.

    """

    def __init__(self) -> None:
        super().__init__()
        self.credit = _MOST
        self._tries = 0

    def worth_learning(self) -> bool:
        """Whether another one is to be learned."""
        if self.credit > 0:
            self.credit -= 1
            return True
        self._tries += 1
        return self._tries % _RARELY == 0

    def learn(self, head: bytes, known: KnownHead) -> None:
        """Remember a head; the others make way when there are too many."""
        if len(self) >= _MOST:
            self.clear()
        self[head] = known
