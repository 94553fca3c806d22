"""``python -m bench``: choose, measure, report."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import api, backend
from bench.contenders import Contender, Options, find
from bench.environment import CACHE, MissingError, with_countersign
from bench.machine import describe
from bench.plot import svg
from bench.process import StartError
from bench.report import as_json, markdown
from bench.result import Result
from bench.scenarios import Scenario, Stage
from bench.turns import play
from proxy.plugins import members

_NEEDED = {"nginx": "nginx-light", "wrk": "wrk", "taskset": "util-linux"}


def main() -> None:
    """Measure what was asked for, and say what came out."""
    scenarios = {scenario.name: scenario for scenario in members("bench.scenarios", Scenario)}
    kinds = {kind.name: kind for kind in sorted(members("bench.contenders", Contender), key=_place)}
    options = _parser(list(scenarios), list(kinds)).parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing that was started stays behind
    if lacking := [f"{name} (apt-get install {package})" for name, package in _NEEDED.items() if not find(name)]:
        sys.exit(f"missing: {', '.join(lacking)}")
    try:
        python = with_countersign(options.python)
        contenders = _present([kinds[name](Options(python, options.cores[0])) for name in options.only])
        machine = describe(contenders)
        print("\n".join(f"{name}: {text}" for name, text in machine.items()), end="\n\n")
        results: list[Result] = []
        for result in _played([scenarios[name]() for name in options.scenario], contenders, options):
            print(markdown([result]), flush=True)
            results.append(result)
            _write(options.out, results, machine)  # what there is stays if the run is ended
    except (MissingError, StartError) as failure:
        sys.exit(str(failure))


def _place(kind: type[Contender]) -> tuple[bool, str]:
    return kind.name != "countersign", kind.name


def _parser(scenarios: list[str], contenders: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Reverse proxies side by side.")
    parser.add_argument("--scenario", type=_choice(scenarios), default=scenarios, help=f"of {','.join(scenarios)}")
    parser.add_argument("--only", type=_choice(contenders), default=contenders, help=f"of {','.join(contenders)}")
    parser.add_argument("--seconds", type=float, default=5, help="of load in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=60, help="of each event stream, one a second")
    parser.add_argument(
        "--python", default=sys.executable, help="the interpreter for Countersign, e.g. /usr/bin/python3.11"
    )
    parser.add_argument("--cores", type=_cores, default=(0, 1), help="the proxies' and the load's, e.g. 0,1")
    parser.add_argument("--out", type=Path, default=CACHE, help="a folder for results.json, results.md and results.svg")
    return parser


def _choice(known: list[str]) -> Any:  # Any: what argparse calls a type
    def chosen(text: str) -> list[str]:
        names = text.split(",")
        if strange := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{strange[0]} is none; right would be {', '.join(known)}")
        return names

    return chosen


def _cores(text: str) -> tuple[int, int]:
    proxies, load = (int(part) for part in text.split(","))
    if not {proxies, load} <= os.sched_getaffinity(0):
        raise argparse.ArgumentTypeError(f"this machine has {sorted(os.sched_getaffinity(0))}")
    return proxies, load


def _present(contenders: list[Contender]) -> list[Contender]:
    found = []
    for each in contenders:
        if reason := each.missing():
            print(f"{each.name} is left out: {reason}", file=sys.stderr)
        else:
            found.append(each)
    return found


def _played(scenarios: list[Scenario], contenders: list[Contender], options: argparse.Namespace) -> Iterator[Result]:
    core = options.cores[1]
    os.sched_setaffinity(0, {core})
    # Some scenarios hold a thousand connections open.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        upstream = stack.enter_context(api.serving(home / "api", core))
        source = stack.enter_context(backend.serving(home / "backend", core))
        stage = Stage(home, core, options.seconds, upstream, source, options.events)
        for scenario in scenarios:
            yield play(scenario, contenders, stage, options.rounds)


def _write(out: Path, results: list[Result], machine: dict[str, str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(as_json(results, machine))
    (out / "results.md").write_text(markdown(results))
    (out / "results.svg").write_text(svg(results))


if __name__ == "__main__":
    main()
