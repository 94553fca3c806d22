"""Proofs that who sends a token holds the key that the token is bound to (RFC 9449).

What an authorization server and what an API want to see in a proof, they say each for itself: nobody's nonce is
shown to anybody else.
"""

from __future__ import annotations

import re
from hashlib import sha256
from uuid import uuid4

import httpx

from proxy.clock import Clock
from proxy.keys import SigningKey, base64url

_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}")  # section 8.1


class Nonces:
    """What servers want to see in the next proof."""

    def __init__(self) -> None:
        self._nonces: dict[str, str] = {}

    def of(self, server: str) -> str | None:
        """Return a server's nonce, if it has given one."""
        return self._nonces.get(server)

    def heed(self, server: str, headers: httpx.Headers, used: str | None) -> bool:
        """Take the nonce of an answer, if it has one; say whether it is another than the one that was `used`."""
        nonce: str = headers.get("dpop-nonce", "")
        if not _NONCE.fullmatch(nonce):
            return False
        self._nonces[server] = nonce
        return nonce != used


class Prover:
    """Makes proofs by one key."""

    def __init__(self, key: SigningKey, clock: Clock) -> None:
        self.key = key
        self._clock = clock
        self._header = {"typ": "dpop+jwt", "jwk": key.public_jwk()}

    def proof(self, method: str, url: str, nonce: str | None, access_token: str | None = None) -> str:
        """Return the value of the field ``DPoP`` for one request (section 4.2).

        Args:
            method: of the request.
            url: of the request; its query is not part of the proof.
            nonce: what the server wants to see, or None.
            access_token: what is sent beside it, or None at the token endpoint.

        """
        claims: dict[str, object] = {
            "jti": uuid4().hex,
            "htm": method,
            "htu": url.partition("#")[0].partition("?")[0],
            "iat": int(self._clock.time()),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        if access_token is not None:
            claims["ath"] = base64url(sha256(access_token.encode()).digest())
        return self.key.sign(claims, self._header)
