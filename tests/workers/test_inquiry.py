"""Questions to all workers: who answers, who doesn't, and what stays of those who have ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.report import Report, total
from proxy.workers import Answer, Ask, Tell, Told, What
from proxy.workers.inquiry import Inquiries
from tests.doubles import FakeClock
from tests.test_report import counted

from .doubles import Puppet


def report(requests: int) -> Report:
    return Report(counted(requests).families(), 1, connections=requests)


def told(message: object) -> float:
    """How many requests were told of."""
    assert isinstance(message, Told)
    samples = [
        sample.value
        for family in total(message.answers).families
        if family.name == "countersign_requests"
        for sample in family.samples
    ]
    return sum(samples)


class Case:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.workers = [Puppet(0), Puppet(1)]
        self.inquiries = Inquiries(lambda: self.workers, self.clock.monotonic)

    def ask(self, what: What = "reports", number: int = 7) -> int:
        """Ask as the first worker; return the number that the others know it by."""
        self.inquiries.ask(self.workers[0], Ask(what, number))
        return self.asked(self.workers[0])

    def asked(self, worker: Puppet) -> int:
        (message,) = worker.take()
        assert isinstance(message, Tell)
        return message.number

    def end(self, worker: Puppet) -> None:
        self.workers.remove(worker)
        self.inquiries.bury(worker)


@pytest.fixture
def case() -> Iterator[Case]:
    made = Case()
    workers = list(made.workers)
    yield made
    for worker in workers:
        worker.bury()


def test_the_asker_is_told_what_all_of_them_answered(case: Case) -> None:
    one, two = case.workers
    number = case.ask("problems")
    assert case.asked(two) == number
    case.inquiries.answer(two, Answer(number, {"a": "gone"}))
    assert one.take() == []
    assert case.inquiries.deadline is not None
    case.inquiries.answer(one, Answer(number, {}))
    assert one.take() == [Told(7, ({"a": "gone"}, {}))]
    assert two.take() == []
    assert case.inquiries.deadline is None


def test_who_does_not_answer_in_time_is_told_as_silent(case: Case) -> None:
    one, two = case.workers
    number = case.ask("problems")
    case.inquiries.answer(one, Answer(number, {}))
    case.inquiries.expire()
    assert one.take() == []
    assert case.inquiries.deadline is not None
    case.clock.now += case.inquiries.deadline - case.clock.monotonic()
    case.inquiries.expire()
    assert one.take() == [Told(7, ({}, None))]
    case.inquiries.answer(two, Answer(number, {}))  # too late
    assert one.take() == []


def test_what_was_counted_stays_counted(case: Case) -> None:
    one, two = case.workers
    number = case.ask()
    case.inquiries.answer(one, Answer(number, report(2)))
    case.inquiries.answer(two, Answer(number, report(3)))
    assert [told(message) for message in one.take()] == [5]
    # Silent: what it said last counts.
    number = case.ask()
    case.inquiries.answer(one, Answer(number, report(4)))
    case.clock.now += 60
    case.inquiries.expire()
    (message,) = one.take()
    assert told(message) == 7
    assert isinstance(message, Told)
    assert (total(message.answers).processes, total(message.answers).connections) == (1, 4)
    # Dead: it counts just the same.
    case.end(two)
    number = case.ask()
    case.inquiries.answer(one, Answer(number, report(4)))
    assert [told(message) for message in one.take()] == [7]


def test_who_dies_after_its_answer_counts_once(case: Case) -> None:
    one, two = case.workers
    number = case.ask()
    case.inquiries.answer(two, Answer(number, report(3)))
    case.end(two)
    case.inquiries.answer(one, Answer(number, report(2)))
    assert [told(message) for message in one.take()] == [5]


def test_who_dies_is_not_waited_for(case: Case) -> None:
    one, two = case.workers
    number = case.ask("problems")
    case.inquiries.answer(one, Answer(number, {}))
    case.end(two)
    assert one.take() == [Told(7, ({},))]


def test_nobody_is_told_when_the_asker_has_died(case: Case) -> None:
    one, two = case.workers
    number = case.ask("problems")
    case.end(one)
    case.inquiries.answer(two, Answer(number, {}))
    assert one.take() == []
    assert case.inquiries.deadline is None
