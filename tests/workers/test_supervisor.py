"""What the supervisor decides; its processes are in the journeys."""

from __future__ import annotations

import io

import pytest

from proxy.config import load
from proxy.log import Log
from proxy.workers import Accept
from proxy.workers.supervisor import Supervisor, pause

from .doubles import Puppet


@pytest.mark.parametrize(
    ("deaths", "seconds"), [(1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (6, 16), (7, 30), (8, 30), (1000, 30)]
)
def test_pauses_grow(deaths: int, seconds: float) -> None:
    assert pause(deaths) == seconds


def supervisor(workers: int) -> Supervisor:
    table = {"server": {"workers": workers}, "routes": {"a": {"upstream": "https://x"}}}
    settings = load(overrides=table, use_file=False)
    return Supervisor(
        settings,
        Log(io.StringIO()),
        reread=lambda: settings,
        work=lambda assignment: None,
        announce=lambda *_: None,
    )


def shares(*workers: Puppet) -> list[set[int]]:
    """What each of them was told last to accept."""
    return [set(worker.accepts) for worker in workers]


def test_every_share_has_somebody_who_accepts_it() -> None:
    made = supervisor(4)
    workers = [Puppet(number) for number in range(4)]
    made._children += workers
    made._share_out()
    assert shares(*workers) == [{0}, {1}, {2}, {3}]
    assert [worker.take() for worker in workers] == [[Accept(frozenset({number}))] for number in range(4)]
    workers[3].leaving = True
    made._children.remove(workers[0])
    made._share_out()
    assert shares(*workers[1:3]) == [{0, 1}, {2, 3}]
    assert workers[3].take() == []
    starting = Puppet(0, ready=False)
    made._children.append(starting)
    made._children.remove(workers[2])
    made._share_out()
    assert shares(workers[1], starting) == [{0, 1, 2, 3}, set()]
    starting.ready = True
    made._share_out()
    assert shares(workers[1], starting) == [{1, 2}, {0, 3}] or shares(workers[1], starting) == [{1, 3}, {0, 2}]
    before = workers[1].take(), starting.take()
    made._share_out()
    assert (workers[1].take(), starting.take()) == ([], []), before
    made._children.clear()
    made._share_out()
    made._close()
    for worker in (*workers, starting):
        worker.bury()
