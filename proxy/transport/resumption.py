"""TLS sessions of one origin, resumed: a new connection to it needs no certificates and no signatures.

Event loops take no session, but make each connection's TLS by their context's ``wrap_bio``, so that is where one
is given. A session is used once (RFC 8446, appendix C.4), for the origin and the context that it came from, and an
origin that refuses it goes on with a whole handshake.
"""

from __future__ import annotations

import ssl
from collections import deque

_KEPT = 8  # sessions: as many connections as may be made at once and each resume one


class Resuming:
    """As much of an `ssl.SSLContext` as event loops use; serves the connections to one origin."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._sessions: deque[ssl.SSLSession] = deque(maxlen=_KEPT)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # as the context has it
        server_hostname: str | None = None,
    ) -> ssl.SSLObject:
        """As `ssl.SSLContext.wrap_bio`, with the latest session if there is one."""
        session = self._sessions.pop() if self._sessions else None
        return self._context.wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def keep(self, tls: ssl.SSLObject) -> None:
        """Keep a connection's session; in TLS 1.3 it has one only after the first answer."""
        session = tls.session
        if session is not None:
            self._sessions.append(session)

    def forget(self) -> None:
        """Begin anew, after a handshake that failed: it may have been for the session."""
        self._sessions.clear()
