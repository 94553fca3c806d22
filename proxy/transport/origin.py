"""An origin that is reached by a unix socket: to HTTP it is ``http://localhost``, and only the socket is another."""

from __future__ import annotations

import re
from typing import Self

import httpx

PREFIX = "unix:"
_LONGEST = 107  # bytes of sun_path, without its end
_FORM = re.compile(r"unix:(?P<socket>/[^:\x00]*[^:/\x00])(?::(?P<base>/[!-~]*))?")


class UnixURL(httpx.URL):
    """``unix:/run/api.sock`` or, with a base path, ``unix:/run/api.sock:/v1``; as a URL ``http://localhost/v1``.

    Attributes:
        socket: the socket's path.

    """

    socket: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the origin that `text` names. Raises ValueError."""
        found = _FORM.fullmatch(text)
        if found is None or len(found["socket"].encode()) > _LONGEST:
            raise ValueError('not a unix socket; right would be "unix:/run/api.sock" or "unix:/run/api.sock:/base"')
        made = cls("http://localhost" + (found["base"] or ""))
        made.socket = found["socket"]
        return made

    def __str__(self) -> str:
        base = self.raw_path.decode("ascii")
        return PREFIX + self.socket + (f":{base}" if base != "/" else "")


def socket_of(origin: httpx.URL) -> str | None:
    """Return the path of the unix socket that leads to an origin, if one does."""
    return origin.socket if isinstance(origin, UnixURL) else None
