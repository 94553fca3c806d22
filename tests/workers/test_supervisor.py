"""What the supervisor decides; its processes are in the journeys."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TextIO

import pytest

from proxy.config import Settings, load
from proxy.log import Log
from proxy.workers import Accept, GiveUp, Outcome
from proxy.workers.channel import pair
from proxy.workers.child import Child
from proxy.workers.supervisor import StartError, Supervisor

from .doubles import Puppet


def supervisor(workers: int, reread: Callable[[], Settings] | None = None, lines: TextIO | None = None) -> Supervisor:
    table = {"server": {"workers": workers}, "routes": {"a": {"upstream": "https://x"}}}
    settings = load(overrides=table, use_file=False)
    return Supervisor(
        settings,
        Log(lines or io.StringIO(), "json"),
        reread=reread or (lambda: settings),
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


def test_an_exception_that_nobody_expected_ends_no_worker() -> None:
    def broken() -> Settings:
        raise RuntimeError("c4n4ry")

    lines = io.StringIO()
    made = supervisor(2, broken, lines)
    worker = Puppet()
    made._children.append(worker)
    made._reload_wanted = True
    made._begin_reload()
    made._end_reload()
    assert worker.take() == [Outcome("failed: failed with RuntimeError")]
    assert "unexpected exception" in lines.getvalue()
    assert "c4n4ry" not in lines.getvalue()
    made._children.clear()
    made._close()
    worker.bury()


def test_a_configuration_that_can_t_be_handed_over_is_given_up() -> None:
    class Unusual(Settings):
        def __reduce__(self) -> str:
            raise TypeError

    table = {"server": {"listen": ["127.0.0.1:0"], "admin": ""}, "routes": {"a": {"upstream": "https://x"}}}
    made = supervisor(2, lambda: Unusual.model_validate(table))
    worker = Child(0, 0, (ends := pair())[0], 0.0, ready=True)
    made._children.append(worker)
    made._reload_wanted = True
    made._begin_reload()
    made._end_reload()
    assert [type(message) for message, _ in ends[1].receive()] == [GiveUp, Outcome]
    assert made._reload is None
    made._children.clear()
    made._close()
    for end in ends:
        end.close()


def test_a_worker_that_can_t_be_started_for_lack_of_descriptors_is_started_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    lines = io.StringIO()
    made = supervisor(2, lines=lines)
    monkeypatch.setattr("proxy.workers.supervisor.pair", refuse)
    with pytest.raises(StartError, match="Too many open files"):
        made._start_those_due()
    made._close()
    made = supervisor(2, lines=lines)
    made._announced = True
    made._start_those_due()
    assert made._restarts.next is not None
    assert "a worker can't be started: Too many open files" in lines.getvalue()
    made._close()
