"""Fuzzing of whatever parses: any bytes in, and a value or a documented error out, soon.

A target is a function of bytes that raises if a law is broken; what it may raise otherwise is caught in it. A few
inputs for each are part of the suite (`test_fuzz.py`), a million are ``make fuzz`` (`__main__.py`).
"""

from __future__ import annotations

import atexit
import importlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

MODULES = ("wire", "fields", "tokens", "texts")  # those that have targets


@dataclass(frozen=True, slots=True)
class Target:
    """Something that parses.

    Attributes:
        check: parses any bytes; raises if that breaks a law.
        seeds: inputs to begin with.
        words: what belongs into inputs.

    """

    name: str
    check: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]


_targets: dict[str, Target] = {}


def target(
    *seeds: bytes, words: Iterable[bytes] = ()
) -> Callable[[Callable[[bytes], object]], Callable[[bytes], object]]:
    """Make a function a target of its name."""

    def registered(check: Callable[[bytes], object]) -> Callable[[bytes], object]:
        _targets[check.__name__] = Target(check.__name__, check, seeds, tuple(words))
        return check

    return registered


def targets() -> dict[str, Target]:
    """All targets by name. Their modules are loaded now: who instruments the code does so before."""
    for module in MODULES:
        importlib.import_module(f"tests.fuzz.{module}")
    return _targets


@cache
def room() -> Path:
    """Return a folder for what has to be a file; it goes with the process."""
    made = Path(mkdtemp(prefix="countersign-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
