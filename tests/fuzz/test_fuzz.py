"""A few inputs for each target, the same ones every time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import targets
from tests.fuzz.mutation import inputs, long_inputs

TARGETS = targets()
COUNT = 200
LONG = 10_000  # bytes
SLOW = 1.0  # seconds of CPU that a long one may take; one whose time grows with its square takes more
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _here() -> Iterator[None]:
    here = Path.cwd()
    yield
    os.chdir(here)


@pytest.mark.shows_secret  # there are none; what is made up may look like one
@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_are_not_quite_right_break_no_law(name: str) -> None:
    for data in islice(inputs(TARGETS[name], Random(name)), COUNT):
        try:
            TARGETS[name].check(data)
        except Exception as failure:
            raise AssertionError(f"{data!r} breaks it") from failure


@pytest.mark.shows_secret
@pytest.mark.parametrize("name", TARGETS)
def test_long_inputs_take_a_time_that_grows_with_them(name: str) -> None:
    for data in long_inputs(TARGETS[name], LONG):
        began = time.process_time()
        TARGETS[name].check(data)
        assert time.process_time() - began < SLOW, data[:100]


def test_the_command_tells_what_it_did(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.fuzz", "--blindly", "--inputs", "50", "values"]
    done = subprocess.run(
        words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("values                   50 inputs")
