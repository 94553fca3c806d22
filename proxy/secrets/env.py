"""A secret in an environment variable, or in the ``.env`` file."""

from __future__ import annotations

import os
import re
from typing import ClassVar

from pydantic import PrivateAttr, SecretStr, field_validator

from proxy import environment
from proxy.errors import SecretError
from proxy.secrets import Source

_NO_NAME = re.compile(r"[\s=$%{}:]")
# As other programs mark a variable. Only a name in capitals is repeated: others may be a part of a secret.
_WRAPPED = re.compile(r"[${%]*([A-Z_][A-Z0-9_]*)[}%]*")


class Env(Source):
    """``{ env = "NAME" }``."""

    kind: ClassVar[str] = "env"
    may_change: ClassVar[bool] = False
    env: str
    # Of the `.env` file that the configuration was read with: another one is for another configuration.
    _dotenv: SecretStr | None = PrivateAttr(default=None)

    def model_post_init(self, context: object, /) -> None:
        """Take the variable from the ``.env`` file that is read now."""
        super().model_post_init(context)
        value = environment.current().dotenv.get(self.env)
        self._dotenv = None if value is None else SecretStr(value)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and isinstance(other, Env) and self._dotenv == other._dotenv

    __hash__ = Source.__hash__

    @field_validator("env")
    @classmethod
    def _is_name(cls, name: str) -> str:
        if _NO_NAME.search(name) or not name:
            found = _WRAPPED.fullmatch(name)
            raise ValueError(f'is not the name of a variable; expected env = "{found[1] if found else "NAME"}"')
        return name

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
        value = os.environ.get(self.env)
        if value is not None:
            return value
        if self._dotenv is None:
            raise SecretError(f"{self.where} is not set")
        return self._dotenv.get_secret_value()
