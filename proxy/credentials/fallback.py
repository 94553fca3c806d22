"""Several credentials: the next one when the API answers 401."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Literal

import httpx
from pydantic import Field

from proxy.credentials import Context, Credential, Scheme
from proxy.errors import CountersignError
from proxy.values import Words


class Fallback(Credential):
    """``type = "fallback"``."""

    type: Literal["fallback"]
    credentials: Words = Field(min_length=2)

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        return FallbackScheme([(name, context.build(name)) for name in self.credentials])

    def named(self) -> tuple[str, ...]:
        """As `Credential.named`."""
        return self.credentials


class FallbackScheme(Scheme):
    """Begins with the credential that worked last."""

    def __init__(self, members: Sequence[tuple[str, Scheme]]) -> None:
        self._members = members
        self._works = 0
        self.fields = frozenset().union(*(scheme.fields for _, scheme in members))

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``; each member starts from the request as it was."""
        first = self._works
        fields, target, url = request.headers.raw, request.extensions["target"], request.url
        failure: CountersignError | None = None
        answered = False
        for step in range(len(self._members)):
            index = (first + step) % len(self._members)
            name, scheme = self._members[index]
            request.headers = httpx.Headers(fields)
            request.extensions["target"], request.url = target, url
            flow = scheme.async_auth_flow(request)
            try:
                following = await anext(flow)
                while True:
                    if answered and step:
                        following.extensions.setdefault("notes", []).append(f"credential {name}")
                    response = yield following
                    answered = answered or response.status_code == 401
                    try:
                        following = await flow.asend(response)
                    except StopAsyncIteration:
                        break
            except CountersignError as problem:
                failure = problem  # the next one may do
                continue
            finally:
                await flow.aclose()
            if response.status_code != 401:
                self._works = index
                return
        if failure is not None and not answered:
            raise failure

    async def ready(self) -> None:
        """As `Scheme.ready`: one is enough."""
        failure: CountersignError | None = None
        for _, scheme in self._members:
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
        name, scheme = self._members[self._works]
        return {"credential": name, **await scheme.explain(request)}
