"""The life of a request, a line a step. The first page to read.

guard -> route -> policy -> clean -> authenticate -> send -> judge -> answer; the last six are the route's and
its exchange's. Whatever goes wrong in a way we know is a `ProxyError` and becomes the answer that it is.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx

from proxy.errors import InternalError, ProxyError
from proxy.gateway import Answer, Inbound
from proxy.gateway.cors import preflight, readable
from proxy.gateway.guard import Admitted, Guard, is_preflight
from proxy.gateway.navigation import confirmation
from proxy.gateway.problem import problem
from proxy.gateway.route import Route
from proxy.gateway.table import RouteTable


class Gateway:
    """One configuration at work.

    Args:
        guard: who may come in.
        table: where to.
        defect: told of an exception that nobody expected.

    """

    def __init__(self, guard: Guard, table: RouteTable, defect: Callable[[Exception], None]) -> None:
        self.guard = guard
        self.table = table
        self._defect = defect

    async def __call__(self, inbound: Inbound) -> Answer:
        """Answer a request, whatever happens."""
        try:
            admitted = await self.guard.admit(inbound)
            if admitted.origin is not None and is_preflight(inbound.method, inbound.head):
                return preflight(inbound.head, admitted.origin)
            route = self.table.find(inbound.entrance, admitted)
            inbound.story.route = route.name
            if admitted.site == b"none" and not route.settings.browser:
                return confirmation(inbound.method, inbound.target, route.name)
            return await route(inbound, admitted)
        except ProxyError as error:
            return self._problem(error, inbound)
        except Exception as failure:  # noqa: BLE001  # the last line of defence: logged, and no traceback at users
            self._defect(failure)
            return self._problem(InternalError(), inbound)

    async def call(self, inbound: Inbound) -> Answer:
        """Answer a request of the process's own, which needs no client token."""
        try:
            route, admitted = self._judged(inbound)
            return await route(inbound, admitted)
        except ProxyError as error:
            return problem(error, inbound.story)

    def prepare(self, inbound: Inbound) -> tuple[Route, httpx.Request]:
        """Return the route that a request takes, and what it would send but for the credential.

        Raises:
            ProxyError: it would be refused.

        """
        route, admitted = self._judged(inbound)
        return route, route.prepare(inbound, admitted)

    def _judged(self, inbound: Inbound) -> tuple[Route, Admitted]:
        admitted = self.guard.judge(inbound)
        return self.table.find(inbound.entrance, admitted), admitted

    def _problem(self, error: ProxyError, inbound: Inbound) -> Answer:
        answer = problem(error, inbound.story)
        origin = self.guard.allowed_origin(inbound.head)
        if origin is not None:
            answer.headers = readable(answer.headers, origin)
        return answer

    async def aclose(self) -> None:
        """Close what the routes hold; what can't be closed is logged, and keeps nothing else open."""
        for route in self.table.routes:
            try:
                await route.aclose()
            except Exception as failure:  # noqa: BLE001  # whatever it is, the other routes are closed
                self._defect(failure)
