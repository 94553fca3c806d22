"""The keys ``proxy`` and ``no_proxy``, which the configuration, a route and a credential may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from proxy.secrets import Secret, Source
from proxy.transport.outgoing import ENVIRONMENT, EXPECTED, NONE, Exemption, parse_proxy
from proxy.values import Model, split_words


class OutgoingProxy:
    """A value of ``proxy``: a text, or where the text comes from.

    Attributes:
        source: it, as a secret.
        text: what stands in the configuration itself; None if it comes from elsewhere.

    """

    __slots__ = ("source", "text")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text: str | None = None
        if source.kind == "literal":
            given: str = source.value.get_secret_value()  # type: ignore[attr-defined]  # what a literal has
            self.text = given.rstrip().removesuffix("/") or NONE

    @property
    def is_secret(self) -> bool:
        """Whether it comes from elsewhere, or holds a password."""
        return self.text is None or "@" in self.text

    async def get(self) -> str:
        """Return its text.

        Raises:
            SecretError: it can't be had.

        """
        return await self.source.get() if self.text is None else self.text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OutgoingProxy):
            return NotImplemented
        return self.text == other.text and (self.text is not None or self.source == other.source)

    __hash__ = None  # type: ignore[assignment]  # a source has none

    def __repr__(self) -> str:
        return f"OutgoingProxy({self.source.where})"


def _checked(source: Source) -> OutgoingProxy:
    proxy = OutgoingProxy(source)
    if proxy.text is not None and proxy.text not in (NONE, ENVIRONMENT):
        parse_proxy(proxy.text)
    return proxy


NoProxy = Annotated[
    tuple[Annotated[Exemption, PlainValidator(Exemption.parse), WithJsonSchema({"type": "string"})], ...],
    BeforeValidator(split_words),
]
if TYPE_CHECKING:
    ProxyKey = OutgoingProxy
else:
    ProxyKey = Annotated[Secret, AfterValidator(_checked)]


class ProxySettings(Model):
    """What has an outgoing proxy of its own, if it wants one.

    Attributes:
        shares_requests: whether what it requests serves all routes that use it.

    """

    shares_requests: ClassVar[bool] = True
    proxy: ProxyKey | None = None
    no_proxy: NoProxy | None = None


def own_proxy(settings: object) -> ProxySettings | None:
    """Return settings as what may have an outgoing proxy of its own, if they are that."""
    return settings if isinstance(settings, ProxySettings) else None


__all__ = ["EXPECTED", "NoProxy", "OutgoingProxy", "ProxyKey", "ProxySettings", "own_proxy"]
