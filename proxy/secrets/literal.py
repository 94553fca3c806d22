"""A secret that stands in the configuration itself: a text, or a table for a text that looks like a reference."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, GetJsonSchemaHandler, SecretStr, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from proxy.secrets import Source


class Literal(Source):
    """``token = "…"`` or ``{ literal = "…" }``; the file that holds it must not be readable by others."""

    kind: ClassVar[str] = "literal"
    may_change: ClassVar[bool] = False
    value: SecretStr = Field(alias="literal")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return {"literal": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls,
        core_schema: CoreSchema,  # pydantic's signature
        handler: GetJsonSchemaHandler,
    ) -> JsonSchemaValue:
        table = {
            "type": "object",
            "properties": {"literal": {"type": "string"}, "json": {"type": "string"}},
            "required": ["literal"],
            "additionalProperties": False,
        }
        return {"anyOf": [{"type": "string"}, table]}

    @property
    def is_blank(self) -> bool:
        """As `Source.is_blank`."""
        return not self.value.get_secret_value()

    @property
    def mistake(self) -> str:
        """As `Source.mistake`."""
        # An empty one was meant: some APIs want an empty password.
        return "" if self.is_blank else self._flaw(self.value.get_secret_value().rstrip())

    @property
    def where(self) -> str:
        """As `Source.where`."""
        return "the configuration"

    async def read(self) -> str:
        """As `Source.read`."""
        return self.value.get_secret_value()
