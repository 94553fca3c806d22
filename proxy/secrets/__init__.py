"""Where a secret comes from: a source a file.

A `Secret` knows its source and hands out its value only through `get`; it has no other way to show it. A
source is a frozen model whose own key tells it apart (``{ env = }``, ``{ file = }``, …). One rule holds for all
sources: white space at the end, line feeds above all, is no part of a secret.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    TypeAdapter,
    ValidationError,
)

from proxy import plugins
from proxy.errors import SecretError
from proxy.secrets._references import meant
from proxy.values import Model

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # of bytes that are not UTF-8, or of JSON's escapes
_LINE_BREAKS = {ord("\n"): None, ord("\r"): None}
_MISSING = object()


class Source(Model, ABC):
    """A secret by its origin.

    Attributes:
        kind: the key that tells this source apart.
        may_change: whether its origin may hold another secret later.
        pick: ``a.b`` picks a field if the origin holds JSON.

    """

    kind: ClassVar[str]
    may_change: ClassVar[bool] = True
    _has_lines: bool = PrivateAttr(default=False)
    pick: str | None = Field(default=None, alias="json", description="picks a field, such as a.b, of JSON")

    @property
    def is_blank(self) -> bool:
        """Whether an empty text was meant: it stands in the configuration itself."""
        return False

    @property
    def mistake(self) -> str:
        """What makes it useless, if that is known without asking for it; else nothing."""
        return ""

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the environment variables that hold it."""
        return ()

    @property
    @abstractmethod
    def where(self) -> str:
        """Where it comes from, to be shown to users."""

    @abstractmethod
    async def read(self) -> str:
        """Text as the origin holds it.

        Raises:
            SecretError: it can't be had.

        """

    async def read_anew(self) -> str:
        """As `read`, whatever was kept of an earlier time."""
        return await self.read()

    async def renewed(self, refused: str) -> str:
        """Return the secret, read anew unless it is another one than `refused` already.

        Raises:
            SecretError: as `get`.

        """
        value = await self.get()
        return value if value != refused else self._checked(await self.read_anew())

    async def get(self) -> str:
        """Return the secret: one line without control characters, unless it is a `SecretText`.

        Raises:
            SecretError: it can't be had, is empty, or would break a header field.

        """
        return self._checked(await self.read())

    def _checked(self, value: str) -> str:
        if self.pick is not None:
            value = self._picked(value, self.pick)
        value = value.rstrip()
        flaw = self._flaw(value)
        if flaw:
            raise SecretError(f"{self.where} {flaw}")
        return value

    def _flaw(self, value: str) -> str:
        """Say what makes a text no secret; nothing if it is one."""
        if not value:
            return "is empty"
        # In this order: what pydantic holds as private costs more than the search.
        if _CONTROL.search(value) and (not self._has_lines or _CONTROL.search(value.translate(_LINE_BREAKS))):
            return "holds a line break or another control character"
        return "is not UTF-8 text" if _SURROGATE.search(value) else ""

    def _picked(self, text: str, pick: str) -> str:
        value = _MISSING
        # Raised outside: a JSONDecodeError has the whole text on it, and would be the context of ours.
        with suppress(ValueError, KeyError, IndexError, TypeError, RecursionError):
            value = _walk(json.loads(text), pick.split("."))
        if value is _MISSING:
            raise SecretError(f"{self.where} has no JSON field {pick}")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise SecretError(f"the JSON field {pick} of {self.where} is not a text")
        return str(value)

    def __eq__(self, other: object) -> bool:
        # What has been read since then does not make it another one.
        return type(self) is type(other) and all(
            getattr(self, name) == getattr(other, name) for name in type(self).model_fields
        )

    __hash__ = Model.__hash__

    def __repr__(self) -> str:
        return f"Secret({self.where})"

    __str__ = __repr__

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        return [(None, self.where)]


def _walk(value: Any, keys: list[str]) -> Any:  # Any: JSON
    for key in keys:
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


SOURCES = tuple(plugins.members("proxy.secrets", Source))


def kind_of(value: object) -> str | None:
    """Return the `Source.kind` of a secret as it is written or parsed, if it is one."""
    if isinstance(value, str):
        return "literal"
    if isinstance(value, Source):
        return value.kind
    if isinstance(value, dict):
        named = [source.kind for source in SOURCES if source.kind in value]
        return named[0] if len(named) == 1 else None
    return None


def is_secret_table(value: object) -> bool:
    """Whether a table is one of the ways to name a secret."""
    return isinstance(value, dict) and kind_of(value) is not None


def literal_text(value: object) -> str | None:
    """Return the secret that stands in the configuration itself, None if it comes from elsewhere."""
    text = value.get("literal") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _digits(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _with_lines(source: Source) -> Source:
    copy = source.model_copy()
    copy._has_lines = True
    return copy


def _usable(source: Source) -> Source:
    if source.mistake:
        raise ValueError(source.mistake)
    return source


if TYPE_CHECKING:
    Secret = Source
    SecretText = Source
    SecretNumber = Source
    TextOrSecret = str | Source
else:
    _tagged = tuple(Annotated[source, Tag(source.kind)] for source in SOURCES)
    _union = _tagged[0]
    for _member in _tagged[1:]:
        _union = _union | _member
    _any_secret = Annotated[
        _union,
        Discriminator(
            kind_of,
            custom_error_type="secret",
            custom_error_message="not a secret; right would be a string or one of "
            + ", ".join(f"{{ {source.kind} = … }}" for source in SOURCES if source.kind != "literal"),
        ),
    ]
    Secret = Annotated[_any_secret, AfterValidator(_usable)]
    SecretNumber = Annotated[Secret, BeforeValidator(_digits, json_schema_input_type=int | Secret)]  # or any text
    # Such as a PEM; never stands in a field.
    SecretText = Annotated[_any_secret, AfterValidator(_with_lines), AfterValidator(_usable)]

    # Plain text where a value need not be secret; a secret is one only as a table.
    TextOrSecret = Annotated[
        Annotated[str, Tag("text")] | _union,
        Discriminator(
            lambda value: "text" if isinstance(value, str) else kind_of(value),
            custom_error_type="secret",
            custom_error_message="not a text or a secret; expected a string or one of "
            + ", ".join(f"{{ {source.kind} = … }}" for source in SOURCES),
        ),
    ]

_adapter: TypeAdapter[Source] = TypeAdapter(Secret, config=ConfigDict(defer_build=True))


def parse_secret(value: object) -> Source:
    """Return the secret that a text or a table means, where no model says that there is one.

    Raises:
        ValueError: it means none; what was given is not repeated.

    """
    mistakes = []
    try:
        return _adapter.validate_python(value)
    except ValidationError as failure:
        mistakes = [f"{error['loc'][-1]}: {error['msg']}" for error in failure.errors(include_input=False)]
    # Raised outside: pydantic's own text repeats what was given.
    raise ValueError(f"is not a secret ({'; '.join(mistakes)})")


def text_of_file(file: Path) -> Source:
    """Return a file of several lines as a secret, read again when it changes."""
    return _with_lines(parse_secret({"file": str(file)}))


__all__ = [
    "SOURCES",
    "Secret",
    "SecretNumber",
    "SecretText",
    "Source",
    "TextOrSecret",
    "is_secret_table",
    "kind_of",
    "literal_text",
    "meant",
    "parse_secret",
    "text_of_file",
]
