"""Several credentials on each request, for APIs that expect more than one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Literal

import httpx
from pydantic import Field

from proxy.credentials import Context, Credential, Scheme
from proxy.errors import ConfigError
from proxy.values import Words

Flow = AsyncGenerator[httpx.Request, httpx.Response]


class All(Credential):
    """``type = "all"``."""

    type: Literal["all"]
    credentials: Words = Field(min_length=2)

    def named(self) -> tuple[str, ...]:
        """As `Credential.named`."""
        return self.credentials

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`.

        Raises:
            ConfigError: two of them set the same field or parameter.

        """
        members = {name: context.build(name) for name in self.credentials}
        _check_places(context.name, members)
        # What signs comes last: it covers what the others have set.
        ordered = sorted(members.items(), key=lambda member: member[1].signs)
        if all(_only_applies(scheme) for scheme in members.values()):
            return AllScheme(ordered)
        return RenewingAllScheme(ordered)


def _only_applies(scheme: Scheme) -> bool:
    return type(scheme).async_auth_flow is Scheme.async_auth_flow


def _check_places(name: str, members: dict[str, Scheme]) -> None:
    taken: dict[tuple[str, str], str] = {}
    for member, scheme in members.items():
        places = [("field", field.decode()) for field in scheme.fields]
        places += [("parameter", parameter) for parameter in scheme.parameters]
        for place in places:
            if place in taken:
                path = f"{name}.credential" if name.startswith("routes.") else f"credentials.{name}"
                raise ConfigError(
                    f"{path}: {taken[place]} and {member} set the same {place[0]} {place[1]}; "
                    "expected members that set different ones"
                )
            taken[place] = member


class AllScheme(Scheme):
    """Puts all of its members on a request; none of them renews."""

    def __init__(self, members: Sequence[tuple[str, Scheme]]) -> None:
        self._members = members
        self.fields = frozenset().union(*(scheme.fields for _, scheme in members))
        self.parameters = frozenset().union(*(scheme.parameters for _, scheme in members))
        self.outgoing = tuple(dict.fromkeys(rules for _, scheme in members for rules in scheme.outgoing))
        self.reads_body = any(scheme.reads_body for _, scheme in members)
        self.signs = any(scheme.signs for _, scheme in members)

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        for _, scheme in self._members:
            await scheme.apply(request)

    async def ready(self) -> None:
        """As `Scheme.ready`: every member is needed."""
        for _, scheme in self._members:
            await scheme.ready()

    def expires_at(self) -> float | None:
        """As `Scheme.expires_at`: of the first one that expires."""
        expiries = [expiry for _, scheme in self._members if (expiry := scheme.expires_at()) is not None]
        return min(expiries, default=None)

    @property
    def scope(self) -> str | None:
        """As `Scheme.scope`: of the first member that has one."""
        return next((scheme.scope for _, scheme in self._members if scheme.scope is not None), None)

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`, of all members by name."""
        found = {"credentials": ", ".join(name for name, _ in self._members)}
        for name, scheme in self._members:
            found |= {f"{name}: {key}": text for key, text in (await scheme.explain(request)).items()}
        return found


class RenewingAllScheme(AllScheme):
    """Drives the flows of those members that have one; the first that wants the request repeated goes on alone.

    So one 401 renews one token, and no other refresh token is spent.
    """

    def __init__(self, members: Sequence[tuple[str, Scheme]]) -> None:
        super().__init__(members)
        self._driven = [scheme for _, scheme in members if not _only_applies(scheme)]
        self._applied = [scheme for _, scheme in members if _only_applies(scheme)]

    async def async_auth_flow(self, request: httpx.Request) -> Flow:
        """As ``httpx.Auth``."""
        async with AsyncExitStack() as stack:
            flows: list[Flow] = []
            for scheme in self._driven:
                flow = scheme.async_auth_flow(request)
                stack.push_async_callback(flow.aclose)
                flows.append(flow)
                request = await anext(flow)
            while True:
                for scheme in self._applied:
                    await scheme.apply(request)
                response = yield request
                following = await _first(flows, response)
                if following is None:
                    return
                request, flow = following
                flows = [flow]


async def _first(flows: Iterable[Flow], response: httpx.Response) -> tuple[httpx.Request, Flow] | None:
    """Return what the first flow wants sent after this response, and that flow; None if all of them end."""
    for flow in flows:
        try:
            return await flow.asend(response), flow
        except StopAsyncIteration:
            continue
    return None
