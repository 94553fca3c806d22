"""The admin listener: a page a file. It is served by the same server as requests are, behind a guard of its own.

A page is found by its path; what it may know of the process stands in `Facts`.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol
from urllib.parse import parse_qs

from proxy import plugins
from proxy.clock import Clock
from proxy.errors import (
    AdminTokenNeeded,
    CountersignError,
    InternalError,
    MethodDenied,
    Misdirected,
    NoRoute,
    ProxyError,
)
from proxy.gateway import Answer, Head, Inbound
from proxy.gateway.guard import Guard
from proxy.gateway.problem import problem as answer_of
from proxy.gateway.route import Route
from proxy.report import Report


class Problem(NamedTuple):
    """Why a credential can't be had.

    Attributes:
        text: all of it, for the log and those who have the admin token.
        public: as `ProxyError.public`.

    """

    text: str
    public: str


Problems = Mapping[str, Problem]
"""Why a route's credential can't be had, by the route's name."""
PATIENCE = 10.0  # seconds for all credentials together


@dataclass(frozen=True, slots=True)
class Common:
    """What all processes that serve together have in common.

    Attributes:
        started: when they were, epoch seconds.
        admin_token: of the admin listener, where none is configured.

    """

    started: float
    admin_token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)


class Workers(Protocol):
    """The processes that serve together, this one included."""

    async def reports(self) -> Iterable[Report]:
        """What each of them tells of itself."""

    async def problems(self) -> Iterable[Problems | None]:
        """What keeps each of them from being ready; None of one that does not answer."""


@dataclass(slots=True)
class Facts:
    """What pages may tell.

    Attributes:
        routes: those of the current configuration.
        started: epoch seconds.
        listens: addresses as users can use them.
        reloaded: what came of the last reload, empty if there was none.
        stopping: whether nobody is accepted any more.

    """

    routes: Callable[[], Sequence[Route]]
    workers: Workers
    clock: Clock
    started: float
    listens: tuple[str, ...] = ()
    reloaded: str = ""
    stopping: bool = False


class Page(ABC):
    """One page.

    Attributes:
        path: where it is.
        open: whether it needs no token.
        csp: what a browser may load for it.

    """

    path: ClassVar[str]
    open: ClassVar[bool] = False
    csp: ClassVar[bytes] = b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

    @abstractmethod
    async def answer(self, facts: Facts) -> Answer:
        """Return what it shows to those who have the token."""

    async def open_answer(self, facts: Facts) -> Answer:
        """Return what it shows to those who have none, if it is open."""
        return await self.answer(facts)


def credential_name(route: Route) -> str:
    """Return what a route's credential is called, for people."""
    credential = route.settings.credential
    return credential if isinstance(credential, str) else f"{credential.type} (inline)"


def credential_proxy(route: Route) -> str | None:
    """Return the outgoing proxy of what a route's credential requests, for people; None if it requests nothing."""
    return ", ".join(map(str, route.scheme.outgoing)) or None


async def problems(routes: Iterable[Route]) -> Problems:
    """Return why credentials can't be had; those are missing that can."""
    routes = list(routes)
    found = await asyncio.gather(*(problem(route) for route in routes))
    return {route.name: each for route, each in zip(routes, found, strict=True) if each}


async def problem(route: Route) -> Problem | None:
    """Return why a route's credential can't be had; None if it can."""
    try:
        async with asyncio.timeout(PATIENCE):
            await route.ready()
    except ProxyError as failure:
        return Problem(failure.detail, failure.public)
    except CountersignError as failure:
        text = str(failure)
    except TimeoutError:
        text = f"not within {PATIENCE:.0f} s"
    except Exception as failure:  # noqa: BLE001  # a stranger's httpx.Auth; its text may repeat what is secret
        text = f"failed with {type(failure).__name__}"
    else:
        return None
    return Problem(text, text)


_WANTED = (
    "this page wants ?token=TOKEN or Authorization: Bearer TOKEN; `countersign run` prints its URL on a terminal, "
    "elsewhere set server.admin_token"
)
_ALLOW = ((b"Allow", b"GET, HEAD"),)
_ALWAYS = [
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"X-Frame-Options", b"DENY"),
]


class Admin:
    """Answers the admin listener's requests."""

    def __init__(self, guard: Guard, token: Callable[[], str], facts: Facts) -> None:
        self._guard = guard
        self._token = token
        self._facts = facts
        self._pages = {page.path: page() for page in plugins.members("proxy.admin", Page)}

    async def __call__(self, inbound: Inbound) -> Answer:
        """As `Forward`."""
        inbound.story.route = "admin"
        try:
            return await self._page(inbound)
        except ProxyError as error:
            return answer_of(error, inbound.story)
        except Exception:  # noqa: BLE001  # the last line of defence; a page must not show a traceback
            return answer_of(InternalError(), inbound.story)

    async def _page(self, inbound: Inbound) -> Answer:
        admitted = await self._guard.admit(inbound)
        page = self._pages.get(admitted.path.decode("ascii"))
        has_token = self._has_token(inbound.head, admitted.target)
        if not has_token and (page is None or not page.open):  # first: without it, nobody learns which pages there are
            raise AdminTokenNeeded(_WANTED)
        if admitted.upstream is not None:
            raise Misdirected("the admin listener is no proxy; right would be a path as the target")
        if page is None:
            raise NoRoute("the admin listener has / /healthz /readyz /metrics and /api/status")
        if inbound.method not in ("GET", "HEAD"):
            raise MethodDenied("only GET and HEAD are served here", headers=_ALLOW)
        answer = await (page.answer if has_token else page.open_answer)(self._facts)
        answer.headers += [*_ALWAYS, (b"Content-Security-Policy", page.csp)]
        return answer

    def _has_token(self, head: Head, target: bytes) -> bool:
        given = [value.encode() for value in parse_qs(target.partition(b"?")[2].decode("ascii")).get("token", ())]
        for value in head.special.get(b"authorization", ()):
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer":
                given.append(rest.strip())
        wanted = self._token().encode()
        return any([hmac.compare_digest(value, wanted) for value in given])  # noqa: C419  # all, in constant time


__all__ = [
    "Admin",
    "Common",
    "Facts",
    "Page",
    "Problem",
    "Problems",
    "Workers",
    "credential_name",
    "credential_proxy",
    "problem",
    "problems",
]
