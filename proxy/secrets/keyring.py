"""A secret in the user's keyring."""

from __future__ import annotations

from typing import ClassVar

from proxy import keyrings
from proxy.errors import SecretError
from proxy.secrets._kept import KeptSource

KEPT = 60.0  # seconds after which it is asked again, which takes some milliseconds and may need the user


class Keyring(KeptSource):
    """``{ keyring = "SERVICE", username = "USER" }``, as ``keyring set SERVICE USER`` keeps it."""

    kind: ClassVar[str] = "keyring"
    keyring: str
    username: str

    @property
    def where(self) -> str:
        """As `Source.where`."""
        return f"the keyring's entry of {self.username} for {self.keyring}"

    @property
    def lifetime(self) -> float:
        """As `KeptSource.lifetime`: a minute."""
        return KEPT

    async def ask(self) -> str:
        """As `KeptSource.ask`."""
        try:
            value = await keyrings.password(self.keyring, self.username)
        except keyrings.KeyringError as failure:
            raise SecretError(f"{self.where}: the keyring {failure}") from None
        if value is None:
            raise SecretError(f"{self.where} does not exist; right would be: keyring set SERVICE USER")
        return value
