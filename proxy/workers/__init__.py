"""Several processes on the same addresses: a supervisor, the workers that it starts, and what they say to each other.

The supervisor binds all addresses and keeps their sockets, so that clients who wait in a queue outlive a worker. It
serves nobody itself and has no event loop: it can be forked at any time. Workers do what they are told over a
socket pair of their own, at whose end they end, too. This page names the messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.config import Settings
from proxy.places import Place

What = Literal["reports", "problems"]
"""What workers can be asked for, named as in `proxy.admin.Workers`."""

# -- from the supervisor to a worker -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accept:
    """Accept the clients of these shares, and of no others."""

    shares: frozenset[int]


@dataclass(frozen=True, slots=True)
class Stage:
    """Make a configuration ready to be taken over; `number` is the reload's."""

    number: int
    settings: Settings = field(repr=False)


@dataclass(frozen=True, slots=True)
class Open:
    """This place will be listened on from the next `TakeOver` on; its sockets come with the message."""

    place: Place


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Go on with what has been staged."""

    number: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Forget what has been staged."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a reload, for the status page."""

    text: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Answer a question; `number` is to be repeated."""

    what: What
    number: int


@dataclass(frozen=True, slots=True)
class Told:
    """What all workers answered to the question `number` of this one."""

    number: int
    answers: tuple[Any, ...]  # Any: as the question wants it


@dataclass(frozen=True, slots=True)
class Drain:
    """Accept nobody any more, and end when what is under way has ended."""


@dataclass(frozen=True, slots=True)
class End:
    """End now."""


# -- from a worker to the supervisor -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """It can accept clients."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It can't start; `usage` if the configuration is to blame."""

    text: str
    usage: bool


@dataclass(frozen=True, slots=True)
class Staged:
    """The configuration of a reload is ready, or why it isn't."""

    number: int
    failure: str


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The configuration of a reload holds."""

    number: int


@dataclass(frozen=True, slots=True)
class Leaving:
    """It accepts nobody any more, and will end: somebody has sent a signal to it alone."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to all workers; `number` is to be repeated."""

    what: What
    number: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What this worker has to say to the question `number`."""

    number: int
    value: Any  # Any: as the question wants it
