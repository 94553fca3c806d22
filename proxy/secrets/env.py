"""A secret in an environment variable, or in the ``.env`` file."""

from __future__ import annotations

from typing import ClassVar

from proxy import environment
from proxy.errors import SecretError
from proxy.secrets import Source


class Env(Source):
    """``{ env = "NAME" }``."""

    kind: ClassVar[str] = "env"
    may_change: ClassVar[bool] = False
    env: str

    @property
    def variables(self) -> tuple[str, ...]:
        """As `Source.variables`."""
        return (self.env,)

    @property
    def where(self) -> str:
        """As `Source.where`."""
        return f"the environment variable {self.env}"

    async def read(self) -> str:
        """As `Source.read`."""
        try:
            return environment.variables[self.env]
        except KeyError:
            raise SecretError(f"{self.where} is not set") from None
