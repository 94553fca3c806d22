"""A reload: all or none."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

import pytest

from proxy.config import load
from proxy.listeners import Listener, ListenError, kind
from proxy.places import PROXY, Place
from proxy.reload import PATIENCE
from proxy.workers import GiveUp, Open, Stage, Staged, TakenOver, TakeOver
from proxy.workers.reload import Reload

from .doubles import Puppet

SETTINGS = load(overrides={"routes": {"a": {"upstream": "https://x"}}}, use_file=False)
PLACE = (PROXY, "127.0.0.1:0")


class Case:
    def __init__(self) -> None:
        self.workers = [Puppet(0), Puppet(1)]
        self.opened: dict[Place, Listener] = {PLACE: kind(PLACE[1]).bind(PLACE[1], 2)}
        self.broken: Exception | None = None
        self.bound = 0
        self.reload = Reload(3, SETTINGS, self._bind, self.workers, 100.0, str)
        self.reload.begin()
        self.staging = [worker.take() for worker in self.workers]

    def _bind(self) -> dict[Place, Listener]:
        self.bound += 1
        if self.broken is not None:
            raise self.broken
        return self.opened

    def told(self) -> list[list[object]]:
        return [worker.take() for worker in self.workers]

    def staged(self, failure: str = "", *workers: Puppet) -> None:
        for worker in workers or self.workers:
            self.reload.answer(worker, Staged(3, failure))

    @property
    def open(self) -> bool:
        return all(sock.fileno() >= 0 for sock in self.opened[PLACE].sockets)


@pytest.fixture
def case() -> Iterator[Case]:
    made = Case()
    workers = list(made.workers)
    yield made
    made.opened[PLACE].close()
    for worker in workers:
        worker.bury()


def test_everybody_stages_and_then_everybody_takes_over(case: Case) -> None:
    sockets = case.opened[PLACE].sockets
    assert case.staging == [[Stage(3, SETTINGS)]] * 2
    case.staged("", case.workers[1])
    assert (case.told(), case.bound) == ([[], []], 0)
    case.staged("", case.workers[0])
    assert case.told() == [[Open(PLACE), *sockets, TakeOver(3)]] * 2
    for worker in case.workers:
        assert not case.reload.over
        case.reload.answer(worker, TakenOver(3))
    assert case.reload.over
    assert (case.reload.failure, case.open) == ("", True)


def test_one_that_can_t_keeps_all_from_it(case: Case) -> None:
    case.staged("no such file", case.workers[0])
    assert case.told() == [[], []]
    case.staged("", case.workers[1])
    assert case.told() == [[GiveUp()], [GiveUp()]]
    assert (case.reload.over, case.reload.failure, case.bound) == (True, "no such file", 0)


def test_late_answers_to_an_earlier_one_don_t_count(case: Case) -> None:
    for worker in case.workers:
        case.reload.answer(worker, Staged(2, ""))
    assert case.told() == [[], []]


def test_one_that_does_not_answer_keeps_all_from_it(case: Case) -> None:
    assert case.reload.deadline == 100.0 + PATIENCE
    case.staged("", case.workers[0])
    case.reload.expire(case.reload.deadline)
    assert case.told() == [[GiveUp()], [GiveUp()]]
    assert case.reload.failure == "no answer within 60 s from worker 2"


def test_one_that_dies_before_it_has_staged_keeps_all_from_it(case: Case) -> None:
    case.staged("", case.workers[0])
    case.reload.bury(case.workers[1])
    assert case.told() == [[GiveUp()], []]
    assert (case.reload.over, case.reload.failure) == (True, "a worker ended meanwhile")


def test_one_that_dies_after_it_has_staged_does_not(case: Case) -> None:
    case.staged("", case.workers[1])
    case.reload.bury(case.workers[1])
    case.staged("", case.workers[0])
    assert case.told() == [[Open(PLACE), *case.opened[PLACE].sockets, TakeOver(3)], []]
    case.reload.answer(case.workers[0], TakenOver(3))
    assert (case.reload.over, case.reload.failure) == (True, "")


def test_one_that_does_not_take_over_is_ended(case: Case) -> None:
    case.staged()
    case.reload.answer(case.workers[0], TakenOver(3))
    case.reload.expire(200.0)
    assert [worker.killed for worker in case.workers] == [False, True]
    assert case.reload.deadline > 200.0
    assert not case.reload.over
    case.reload.bury(case.workers[1])
    assert (case.reload.over, case.reload.failure) == (True, "")


@pytest.mark.parametrize("failure", [OSError("no descriptors"), ListenError("no descriptors")])
def test_an_address_that_can_t_be_bound_keeps_all_from_it(case: Case, failure: Exception) -> None:
    case.broken = failure
    case.staged()
    assert case.told() == [[GiveUp()], [GiveUp()]]
    assert (case.reload.over, case.reload.failure) == (True, "no descriptors")


def test_sockets_that_can_t_be_sent_to_one_keep_all_from_it(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    tell, sent = Puppet.say, []

    def say(worker: Puppet, message: object, sockets: Iterable[socket.socket] = ()) -> None:
        sent.append(message)
        if sent == [Open(PLACE)] * 2:
            raise OSError("no descriptors")
        tell(worker, message, sockets)

    monkeypatch.setattr(Puppet, "say", say)
    case.staged()
    assert [told[-1] for told in case.told()] == [GiveUp(), GiveUp()]
    assert (case.reload.over, case.reload.failure, case.open) == (True, "no descriptors", False)


def test_a_configuration_that_can_t_be_sent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def say(worker: Puppet, message: object, sockets: Iterable[socket.socket] = ()) -> None:
        worker.told.append(message)
        if isinstance(message, Stage):
            raise TypeError("can't be pickled")

    monkeypatch.setattr(Puppet, "say", say)
    worker = Puppet()
    reload = Reload(3, SETTINGS, dict, [worker], 100.0, str)
    reload.begin()
    assert (reload.over, reload.failure, worker.take()[-1]) == (True, "can't be pickled", GiveUp())
    worker.bury()


def test_nobody_is_there() -> None:
    reload = Reload(3, SETTINGS, dict, [], 100.0, str)
    reload.begin()
    assert (reload.over, reload.failure) == (True, "")
