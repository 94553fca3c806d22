"""Several credentials: the next one when the API answers 401."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import httpx

from proxy.credentials import Context, Scheme
from proxy.credentials._members import Choice, Members, MembersScheme
from proxy.credentials._unauthorized import Unauthorized


class Fallback(Choice):
    """``type = "fallback"``."""

    type: Literal["fallback"]

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        return FallbackScheme([(name, context.build(name)) for name in self.credentials], self.unauthorized)


class FallbackScheme(MembersScheme):
    """Begins with the credential that worked last."""

    def __init__(self, members: Members, unauthorized: Unauthorized) -> None:
        super().__init__(members, unauthorized)
        self._works = 0

    def order(self) -> Iterator[int]:
        """As `MembersScheme.order`."""
        first, count = self._works, len(self.members)
        return iter([(first + step) % count for step in range(count)])

    async def refused(self, index: int, response: httpx.Response) -> bool:  # noqa: ARG002  # all are told alike
        """As `MembersScheme.refused`."""
        return await self._unauthorized.matches(response)

    def served(self, index: int) -> None:
        """As `MembersScheme.served`."""
        self._works = index
