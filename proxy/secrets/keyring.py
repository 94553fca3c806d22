"""A secret in the user's keyring."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from pydantic import PrivateAttr

from proxy import keyrings
from proxy.errors import SecretError
from proxy.secrets import Source

KEPT = 60.0  # seconds after which it is asked again, which takes some milliseconds and may need the user


class Keyring(Source):
    """``{ keyring = "SERVICE", username = "USER" }``, as ``keyring set SERVICE USER`` keeps it."""

    kind: ClassVar[str] = "keyring"
    keyring: str
    username: str
    _kept: tuple[float, str] | None = PrivateAttr(default=None)
    _asking: asyncio.Task[str] | None = PrivateAttr(default=None)

    @property
    def where(self) -> str:
        """As `Source.where`."""
        return f"the keyring's entry of {self.username} for {self.keyring}"

    async def read(self) -> str:
        """As `Source.read`; kept for a minute."""
        if self._kept is not None and time.monotonic() < self._kept[0]:
            return self._kept[1]
        return await self.read_anew()

    async def read_anew(self) -> str:
        """As `Source.read_anew`; asked once, however many want it."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="secret of a keyring")
        # Shielded: the request that asked first may go away while others wait for the same answer.
        return await asyncio.shield(self._asking)

    async def _ask(self) -> str:
        try:
            value = await keyrings.password(self.keyring, self.username)
        except keyrings.KeyringError as failure:
            raise SecretError(f"{self.where}: the keyring {failure}") from None
        if value is None:
            raise SecretError(f"{self.where} does not exist; right would be: keyring set SERVICE USER")
        self._kept = (time.monotonic() + KEPT, value)
        return value
