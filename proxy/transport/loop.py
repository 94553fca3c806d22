"""The event loop that serves: uvloop's where there is one, with lookups of names by `resolve`.

Third-party code looks names up by the loop. Its lookups would run on the threads that all share, and with uvloop
every connection needs one of these for a moment, even one to an IP address.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.transport.resolve import Address, resolve

if TYPE_CHECKING:
    Base = asyncio.SelectorEventLoop
else:
    try:
        from uvloop import Loop as Base
    except ImportError:
        Base = asyncio.SelectorEventLoop


class Loop(Base):
    """The event loop."""

    async def getaddrinfo(  # type: ignore[override]  # typeshed gives the address a type by family
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002  # as asyncio names it
        proto: int = 0,
        flags: int = 0,
    ) -> list[Address]:
        """As its base class."""
        return await resolve(host, port, family, type, proto, flags)
