"""How a token is obtained, a grant a file; and how it is renewed: once, early, stored.

`Tokens` is what all sources of tokens share: the store, the clock, the client for token endpoints, and who
wants to hear of renewals.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import httpx

from proxy.clock import Clock

if TYPE_CHECKING:
    from proxy.stores import Store


@dataclass(frozen=True, slots=True)
class Tokens:
    """What all sources of tokens share.

    Attributes:
        client: for token endpoints; raises the errors of `proxy.errors`.
        renewed: told of each renewal: credential, and ``success``, ``refused`` or ``unavailable``.
        warn: told of what users must know, such as a store that can't be written.

    """

    store: Store
    clock: Clock
    client: httpx.AsyncBaseTransport
    renewed: Callable[[str, str], None] = lambda credential, outcome: None  # noqa: ARG005
    warn: Callable[[str], None] = lambda text: None  # noqa: ARG005


Keys = Callable[[str], Awaitable[str]]


class Grant(ABC):
    """An OAuth2 grant (RFC 6749, section 4).

    Attributes:
        name: as ``grant`` has it.
        needs: the keys that it can't do without.

    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    async def form(self, keys: Keys) -> dict[str, str]:
        """Return the fields of the token request; `keys` gives the value of a credential's key.

        Raises:
            SecretError: one can't be had.

        """


__all__ = ["Grant", "Keys", "Tokens"]
