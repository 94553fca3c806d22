"""What the supervisor decides; its processes are in the journeys."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from contextlib import suppress
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


def reload(made: Supervisor) -> None:
    made._reload_wanted = True
    made._read()
    assert made._reading is not None
    with suppress(Exception):
        made._reading._read.result(10)
    made._begin_reload()


@pytest.mark.parametrize("failure", [RuntimeError("c4n4ry"), SystemExit("c4n4ry")])
def test_an_exception_that_nobody_expected_ends_no_worker(failure: BaseException) -> None:
    def broken() -> Settings:
        raise failure

    lines = io.StringIO()
    made = supervisor(2, broken, lines)
    worker = Puppet()
    made._children.append(worker)
    reload(made)
    made._end_reload()
    assert worker.take() == [Outcome("failed: failed with RuntimeError")]
    assert "unexpected exception" in lines.getvalue()
    assert "c4n4ry" not in lines.getvalue()
    made._children.clear()
    made._close()
    worker.bury()


def test_a_configuration_that_hangs_holds_nothing_up_and_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, lines = threading.Event(), io.StringIO()

    def hanging() -> Settings:
        gate.wait(30)
        raise AssertionError

    made = supervisor(2, hanging, lines)
    worker = Puppet()
    made._children.append(worker)
    started = list[int]()
    monkeypatch.setattr(made, "_start", started.append)
    made._restarts.take(0.0)
    made._reload_wanted = made._announced = True
    made._read()
    made._begin_reload()
    assert worker.take() == []
    patience = made._patience()
    assert patience is not None
    assert patience < 1
    made._restarts.put(1, 0.0, -100.0)
    made._start_those_due()
    assert started == []  # another one serves
    worker.ready = False
    made._start_those_due()
    assert started == [1]
    worker.ready = True
    assert made._reading is not None
    made._reading._deadline = 0.0
    made._begin_reload()
    assert worker.take() == [Outcome("failed: took longer than 60 s")]
    gate.set()
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
    reload(made)
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
