"""Credentials that are a choice of others: one after the other until the API takes one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterator, Sequence

import httpx
from pydantic import Field

from proxy.credentials import Scheme
from proxy.credentials._renewing import Renewable
from proxy.credentials._unauthorized import Unauthorized
from proxy.errors import CountersignError
from proxy.values import Words

Members = Sequence[tuple[str, Scheme]]


class Choice(Renewable):
    """What they are configured by; ``unauthorized`` says when to go on with the next one."""

    credentials: Words = Field(min_length=2)

    def named(self) -> tuple[str, ...]:
        """As `Credential.named`."""
        return self.credentials


class MembersScheme(Scheme):
    """Drives the flows of its members, each from the request as it was.

    Attributes:
        members: name and scheme of each.

    """

    def __init__(self, members: Members, unauthorized: Unauthorized) -> None:
        self.members = members
        self._unauthorized = unauthorized
        self.fields = frozenset().union(*(scheme.fields for _, scheme in members))
        self.parameters = frozenset().union(*(scheme.parameters for _, scheme in members))
        self.outgoing = tuple(dict.fromkeys(rules for _, scheme in members for rules in scheme.outgoing))
        self.reads_body = unauthorized.reads_body or any(scheme.reads_body for _, scheme in members)

    @abstractmethod
    def order(self) -> Iterator[int]:
        """Which ones to try for a request, the first one first."""

    @abstractmethod
    async def refused(self, index: int, response: httpx.Response) -> bool:
        """Whether an answer is a reason to go on with the next one; called for each."""

    @abstractmethod
    def served(self, index: int) -> None:
        """Note that the API took this one."""

    def failed(self, index: int) -> None:
        """Note that this one can't be had, or was refused even after it had been renewed."""

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        fields, target, url = request.headers.raw, request.extensions["target"], request.url
        failure: CountersignError | None = None
        answered = refused = False
        for step, index in enumerate(self.order()):
            name, scheme = self.members[index]
            request.headers = httpx.Headers(fields)
            request.extensions["target"], request.url = target, url
            flow = scheme.async_auth_flow(request)
            try:
                following = await anext(flow)
                while True:
                    if answered and step:
                        following.extensions.setdefault("notes", []).append(f"credential {name}")
                    response = yield following
                    refused = await self.refused(index, response)
                    answered = answered or refused
                    try:
                        following = await flow.asend(response)
                    except StopAsyncIteration:
                        break
            except CountersignError as problem:
                failure = problem  # the next one may do
                self.failed(index)
                continue
            finally:
                await flow.aclose()
            if not refused:
                self.served(index)
                return
            self.failed(index)
        if failure is not None and not answered:
            raise failure

    async def ready(self) -> None:
        """As `Scheme.ready`: one is enough."""
        failure: CountersignError | None = None
        for _, scheme in self.members:
            try:
                await scheme.ready()
            except CountersignError as problem:
                failure = problem
            else:
                return
        if failure is not None:
            raise failure

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`, of the one that comes first."""
        name, scheme = self.members[next(self.order())]
        return {"credential": name, **await scheme.explain(request)}
