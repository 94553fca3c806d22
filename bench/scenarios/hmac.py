"""What signing costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bench.contenders import PLAIN, Job
from bench.scenarios import Goal
from bench.scenarios._variants import Variants

_SCRIPT = Path(__file__).parents[1] / "load/post.lua"


class Hmac(Variants):
    """SHA-256 over time, method, target and body."""

    name: ClassVar[str] = "hmac"
    title: ClassVar[str] = "HMAC over a 1 KiB body against bearer"
    base: ClassVar[str] = "bearer"
    jobs: ClassVar[Mapping[str, Job]] = {"bearer": PLAIN, "hmac": Job(credential="hmac")}
    arguments: ClassVar[tuple[str, ...]] = ("-s", str(_SCRIPT))
    goals: ClassVar[tuple[Goal, ...]] = (Goal("cpu", 1.25, of="bearer", case="hmac"),)
