"""Rounds in turn: A B C A B C …, so that whatever else the machine does hits all alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from bench.contenders import Contender
from bench.load import LoadError
from bench.process import StartError
from bench.result import Result
from bench.scenarios import Reading, Scenario, Stage


def play(scenario: Scenario, contenders: Sequence[Contender], stage: Stage, rounds: int) -> Result:
    """Play `rounds` of a scenario; a case that fails is left out, and its reason kept."""
    print(f"{scenario.name}: {scenario.title} …", file=sys.stderr)
    readings: dict[str, list[Reading]] = {}
    skipped: dict[str, str] = {}
    with ExitStack() as stack:
        turns: dict[str, Callable[[], Reading]] = {}
        for case in scenario.cases(contenders):
            try:
                turns[case.name] = stack.enter_context(scenario.ready(case, stage))
            except (StartError, LoadError) as failure:
                skipped[case.name] = str(failure)
        for _ in range(min(rounds, scenario.most_rounds)):
            for name, turn in list(turns.items()):
                try:
                    readings.setdefault(name, []).append(turn())
                except (StartError, LoadError) as failure:
                    skipped[name] = str(failure)
                    del turns[name], readings[name]
    return Result(
        scenario.name, scenario.title, scenario.question, scenario.base, readings, skipped, scenario.goals
    )  # fmt: skip
