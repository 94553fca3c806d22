"""``[tokens]``: which store, where it is, and what encrypts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from proxy.errors import ConfigError, SecretError, StoreError
from proxy.mistakes import nearest
from proxy.secrets import SOURCES, Secret, Source, kind_of, meant
from proxy.stores import Setup, default_path, kind, kinds
from proxy.values import FilePath, Model


def _checked(choice: str) -> str:
    store = kind(choice)
    if store is None:
        raise ValueError(f"is not a token store; right would be {meant(choice, substituted=True) or _right(choice)}")
    store.check(choice)
    return choice


def _right(choice: str = "") -> str:
    return nearest(choice, [scheme.replace("://", "://…") for scheme in kinds()])


def _checked_literal(choice: Source) -> Source:
    _checked(choice.value.get_secret_value())  # type: ignore[attr-defined]  # it is what stands in the configuration
    return choice


def _tag(value: object) -> str | None:
    if not isinstance(value, str):
        return kind_of(value)
    return "literal" if has_password(value) else "name"


def has_password(choice: str) -> bool:
    """Whether a ``tokens.store`` is a secret."""
    try:
        return urlsplit(choice).password is not None or "password=" in urlsplit(choice).query
    except ValueError:
        return True  # nobody knows


def _path() -> Path:
    try:
        return default_path()
    except StoreError:
        return Path()  # for a user without a home


if TYPE_CHECKING:
    Choice = str | Source
else:
    _words = {"enum": [scheme for scheme in kinds() if not scheme.endswith("://")]}
    _url = {"type": "string", "pattern": "^[a-z]+://"}
    _union = Annotated[str, AfterValidator(_checked), WithJsonSchema(_words), Tag("name")]
    for _source in SOURCES:
        _each = _source
        if _source.kind == "literal":
            _each = Annotated[_source, AfterValidator(_checked_literal), WithJsonSchema(_url)]
        _union = _union | Annotated[_each, Tag(_source.kind)]
    Choice = Annotated[
        _union,
        Discriminator(
            _tag,
            custom_error_type="store",
            custom_error_message=f"is not a token store; right would be {_right()}",
        ),
    ]


class TokenSettings(Model):
    """``[tokens]``."""

    store: Choice = "file"
    path: FilePath = Field(default_factory=_path)
    key: Secret | None = None
    old_keys: tuple[Secret, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> TokenSettings:
        if self.store in ("file", "keyring") and self.path == Path():
            raise ValueError('there is no home directory to keep tokens in; right would be path = "/…/tokens.json"')
        if self.old_keys and self.key is None:
            raise ValueError("old_keys only decrypt; right would be key, too")
        return self

    async def setup(self, warn: Callable[[str], None]) -> Setup:
        """Return what the store is made with.

        Raises:
            ConfigError: a secret can't be had, or is no store's URL.

        """
        choice = self.store if isinstance(self.store, str) else await _had("store", self.store)
        try:
            _checked(choice)
        except ValueError as failure:
            raise ConfigError(f"tokens.store: {failure}") from None
        keys = [] if self.key is None else [await _had("key", self.key)]
        keys += [await _had("old_keys", key) for key in self.old_keys]
        return Setup(self.path, choice, tuple(key.encode() for key in keys), warn)


async def _had(key: str, secret: Source) -> str:
    try:
        return await secret.get()
    except SecretError as failure:
        raise ConfigError(f"tokens.{key}: {failure}") from None
