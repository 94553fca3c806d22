"""Judges DPoP proofs as a server does (RFC 9449, section 4.3), by joserfc."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Any

from joserfc import jwk, jwt


class ProofError(Exception):
    """What is wrong with a proof."""


class NonceError(ProofError):
    """All is well but the nonce."""


class Judge:
    """One server's view of proofs.

    Attributes:
        nonce: what has to be in them; None if that is not asked for.

    """

    def __init__(self, nonce: str | None = None) -> None:
        self.nonce = nonce
        self.seen: set[str] = set()

    def __call__(self, proof: str | None, method: str, url: str, access_token: str | None = None) -> str:
        """Return the thumbprint of the key that a proof is by.

        Raises:
            ProofError: it is none, or for something else.

        """
        if proof is None:
            raise ProofError("no proof")
        header = json.loads(_decoded(proof.split(".")[0]))
        if header["typ"] != "dpop+jwt" or header["alg"] != "ES256" or header["jwk"].keys() != {"kty", "crv", "x", "y"}:
            raise ProofError("header")
        key = jwk.ECKey.import_key(header["jwk"])
        claims: dict[str, Any] = dict(jwt.decode(proof, key, algorithms=["ES256"]).claims)
        if (claims["htm"], claims["htu"]) != (method, url.partition("?")[0]):
            raise ProofError(f"for {claims['htm']} {claims['htu']}")
        if claims["jti"] in self.seen or not isinstance(claims["iat"], int):
            raise ProofError("jti or iat")
        self.seen.add(claims["jti"])
        if claims.get("ath") != (None if access_token is None else hashed(access_token)):
            raise ProofError("ath")
        if claims.get("nonce") != self.nonce:
            raise NonceError("nonce")
        return key.thumbprint()


def hashed(access_token: str) -> str:
    return urlsafe_b64encode(sha256(access_token.encode()).digest()).rstrip(b"=").decode()


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
