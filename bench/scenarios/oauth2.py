"""What a token that is valid costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from bench.contenders import PLAIN, Job
from bench.scenarios import Goal
from bench.scenarios._variants import Variants


class OAuth2(Variants):
    """The token is fetched once, while all are warming up."""

    name: ClassVar[str] = "oauth2"
    title: ClassVar[str] = "OAuth2 with a valid token against bearer"
    base: ClassVar[str] = "bearer"
    jobs: ClassVar[Mapping[str, Job]] = {"bearer": PLAIN, "oauth2": Job(credential="oauth2")}
    goals: ClassVar[tuple[Goal, ...]] = (Goal("cpu", 1.25, of="bearer", case="oauth2"),)
