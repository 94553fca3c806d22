"""How a client says who it is at a token endpoint, a way a file (RFC 6749, section 2.3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from proxy.tokens import Client
from proxy.tokens.settings import ClientSettings

Identity = tuple[dict[str, str], dict[str, str]]


class ClientAuthentication(ABC):
    """A way to authenticate a client.

    Attributes:
        name: as ``client_auth`` has it.
        needs: the keys that it can't do without.

    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]

    @classmethod  # noqa: B027  # most have nothing to say
    def check(cls, settings: ClientSettings) -> None:
        """See that keys which are all there go together.

        Raises:
            ValueError: they don't.

        """

    @abstractmethod
    async def identify(self, client: Client) -> Identity:
        """Return the form fields and the header fields that say who asks.

        Raises:
            SecretError: a secret can't be had.

        """


__all__ = ["ClientAuthentication", "Identity"]
