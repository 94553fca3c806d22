"""A reload: all or none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy import environment
from proxy.config import load
from proxy.listeners import Listener, kind
from proxy.places import PROXY, Place
from proxy.workers import GiveUp, Open, Stage, Staged, TakenOver, TakeOver
from proxy.workers.reload import PATIENCE, Reload

from .doubles import Puppet

SETTINGS = load(overrides={"routes": {"a": {"upstream": "https://x"}}}, use_file=False)
PLACE = (PROXY, "127.0.0.1:0")


class Case:
    def __init__(self) -> None:
        self.workers = [Puppet(0), Puppet(1)]
        self.opened: dict[Place, Listener] = {PLACE: kind(PLACE[1]).bind(PLACE[1], 2)}
        self.reload = Reload(3, SETTINGS, self.opened, self.workers, 100.0)
        self.reload.begin()
        self.staging = [worker.take() for worker in self.workers]

    def told(self) -> list[list[object]]:
        return [worker.take() for worker in self.workers]

    def staged(self, failure: str = "", *workers: Puppet) -> None:
        for worker in workers or self.workers:
            self.reload.answer(worker, Staged(3, failure))

    @property
    def open(self) -> bool:
        return all(sock.fileno() >= 0 for sock in self.opened[PLACE].sockets)


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.setitem(environment.variables.maps[1], "NAME", "value")
    made = Case()
    workers = list(made.workers)
    yield made
    made.opened[PLACE].close()
    for worker in workers:
        worker.bury()


def test_everybody_stages_and_then_everybody_takes_over(case: Case) -> None:
    sockets = case.opened[PLACE].sockets
    assert case.staging == [[Open(PLACE), *sockets, Stage(3, SETTINGS, {"NAME": "value"})]] * 2
    case.staged("", case.workers[1])
    assert case.told() == [[], []]
    case.staged("", case.workers[0])
    assert case.told() == [[TakeOver(3)], [TakeOver(3)]]
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
    assert (case.reload.over, case.reload.failure, case.open) == (True, "no such file", False)


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
    assert case.told() == [[TakeOver(3)], []]
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


def test_nobody_is_there() -> None:
    reload = Reload(3, SETTINGS, {}, [], 100.0)
    reload.begin()
    assert (reload.over, reload.failure) == (True, "")
