"""The proxies that are compared, a file each.

All of them do the same: one API, whose answers they hand on with an ``Authorization`` field that the client
did not send. What else a job asks for only some can do.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from bench.process import Process, free_port, running

TOKEN = "benchmark"  # what is added to requests is "Bearer benchmark"


@dataclass(frozen=True)
class Job:
    """What a proxy is to do.

    Attributes:
        credential: what is added to requests: ``bearer``, ``hmac`` or ``oauth2``.
        access_log: whether each request leaves a line in a file.
        prefix: of the route that requests take; it is stripped.
        routes: how many there are; the others have prefixes that nobody asks for.
        workers: how many processes serve.
        connections: how many clients are let in; 0 for as many as is usual.

    """

    credential: str = "bearer"
    access_log: bool = False
    prefix: str = "/"
    routes: int = 1
    workers: int = 1
    connections: int = 0


PLAIN = Job()


@dataclass(frozen=True)
class Site:
    """Where a proxy does its job.

    Attributes:
        home: a folder for its files.
        port: where it listens.
        api: HOST:PORT of the API.
        issuer: HOST:PORT of what answers token requests.

    """

    home: Path
    port: int
    api: str
    issuer: str


@dataclass(frozen=True)
class Options:
    """What the user chose that contenders must know: the interpreter of those written in Python, and their core."""

    python: str
    core: int = 0
    environ: Mapping[str, str] = field(default_factory=lambda: {"BENCH_TOKEN": TOKEN, "GOMAXPROCS": "1"})


class Contender(ABC):
    """A proxy."""

    name: ClassVar[str]

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def missing(self) -> str | None:
        """Return what this machine lacks for it and how to get it, or None."""

    @abstractmethod
    def command(self, site: Site, job: Job) -> list[str]:
        """Write what it is configured by, and return the command that runs it."""

    def can(self, job: Job) -> bool:
        """Whether it can do `job` at all."""
        return replace(job, access_log=False) == PLAIN

    def about(self) -> str:
        """Return its version, as far as it tells."""
        return ""

    @contextmanager
    def started(self, home: Path, job: Job, api: str, issuer: str) -> Iterator[Process]:
        """Run it until the end of the block.

        Raises:
            StartError: it does not listen.

        """
        site = Site(home, free_port(), api, issuer)
        home.mkdir(parents=True, exist_ok=True)
        command = self.command(site, job)
        with running(command, self.options.core, site.port, home / "log", self.options.environ) as process:
            yield process


class DebianContender(Contender):
    """One that a package of Debian brings."""

    def missing(self) -> str | None:
        """As `Contender.missing`."""
        return None if find(self.name) else f"apt-get install {self.name}"


def find(program: str) -> str | None:
    """Return the path of a program, also of those that only administrators have on their path."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
