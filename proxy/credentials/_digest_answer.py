"""The arithmetic of HTTP Digest (RFC 7616): which challenge is answered, and the ``Authorization`` that answers it."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from proxy.credentials._challenges import Challenge

# RFC 7616, section 3.3 (and two that are in use besides), by hashlib's names.
_HASHES = {
    "MD5": "md5", "SHA": "sha1", "SHA-256": "sha256", "SHA-512": "sha512", "SHA-512-256": "sha512_256",
}  # fmt: skip
_SESSION = "-SESS"
_SEPARATOR = re.compile(r"[\s,]+")
SUPPORTED = "algorithm MD5, SHA-256 or SHA-512-256 (also -sess) and qop auth or auth-int"


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """Whose password it is."""

    username: str
    password: str


class DigestChallenge:
    """A challenge that can be answered, and how often it has been.

    Attributes:
        nonce: the server's.
        stale: whether the server says that only the nonce was too old.
        covers_body: whether the body is signed as well (``auth-int``).

    """

    def __init__(self, parameters: dict[str, str], algorithm: str, qop: str) -> None:
        self._parameters = parameters
        self._hash = _HASHES[algorithm.removesuffix(_SESSION)]
        self._is_session = algorithm.endswith(_SESSION)
        self._qop = qop
        self._count = 0
        self.nonce = parameters["nonce"]
        self.stale = parameters.get("stale", "").lower() == "true"
        self.covers_body = qop == "auth-int"

    def renewed(self, nonce: str) -> DigestChallenge:
        """Return the same challenge with another nonce."""
        return chosen([Challenge("digest", {**self._parameters, "nonce": nonce})]) or self

    def authorization(self, account: Account, method: str, target: bytes, body: bytes = b"", cnonce: str = "") -> bytes:
        """Return the ``Authorization`` of the next request that answers the challenge (RFC 7616, section 3.4).

        Args:
            account: whose password proves it.
            method: the request's.
            target: its target, as it is sent.
            body: the whole body, where the challenge covers it.
            cnonce: our nonce; a random one by default.

        """
        self._count += 1
        cnonce = cnonce or secrets.token_urlsafe(24)
        count = f"{self._count:08x}"
        secret = self._h(_joined(account.username, self._parameters["realm"].encode("latin-1"), account.password))
        if self._is_session:
            secret = self._h(_joined(secret, self._nonce, cnonce))
        request = _joined(method, target, self._h(body)) if self.covers_body else _joined(method, target)
        middle = [count, cnonce, self._qop] if self._qop else []
        response = self._h(_joined(secret, self._nonce, *middle, self._h(request)))
        fields = [
            self._username(account.username),
            *self._echoed("realm", "nonce", "opaque"),
            b"uri=" + _quoted(target),
            b'response="%b"' % response.encode(),
        ]
        if "algorithm" in self._parameters:
            fields.append(b"algorithm=" + self._parameters["algorithm"].encode("latin-1"))
        if self._qop:
            fields.append(f"qop={self._qop}, nc={count}".encode())
        if self._qop or self._is_session:
            fields.append(b'cnonce="%b"' % cnonce.encode())
        return b"Digest " + b", ".join(fields)

    @property
    def _nonce(self) -> bytes:
        return self.nonce.encode("latin-1")

    def _echoed(self, *names: str) -> Iterable[bytes]:
        for name in names:
            if name in self._parameters:
                yield name.encode() + b"=" + _quoted(self._parameters[name].encode("latin-1"))

    def _username(self, username: str) -> bytes:
        """Return the user's name, hashed if the server can read that (section 3.4.4), or encoded if it has to be."""
        if self._parameters.get("userhash", "").lower() == "true":
            hashed = self._h(_joined(username, self._parameters["realm"].encode("latin-1")))
            return b'username="%b", userhash=true' % hashed.encode()
        if not username.isascii() and self._parameters.get("charset", "").lower() == "utf-8":
            return b"username*=UTF-8''" + quote(username, safe="").encode()
        return b"username=" + _quoted(username.encode())

    def _h(self, data: bytes) -> str:
        return hashlib.new(self._hash, data, usedforsecurity=False).hexdigest()


def chosen(offered: Iterable[Challenge]) -> DigestChallenge | None:
    """Return the first challenge that can be answered (section 3.7); None if there is none."""
    for challenge in offered:
        parameters = challenge.parameters
        algorithm = parameters.get("algorithm", "MD5").upper()
        known = _HASHES.get(algorithm.removesuffix(_SESSION)) in hashlib.algorithms_available
        qop = _qop(parameters.get("qop", ""))
        if challenge.scheme == "digest" and known and qop is not None and {"realm", "nonce"} <= parameters.keys():
            return DigestChallenge(parameters, algorithm, qop)
    return None


def _qop(offered: str) -> str | None:
    """Return the quality of protection to use, empty if the server knows none (RFC 2069), None if no known one."""
    tokens = {token for token in _SEPARATOR.split(offered.lower()) if token}
    if not tokens:
        return ""
    return next((qop for qop in ("auth", "auth-int") if qop in tokens), None)


def _joined(*parts: str | bytes) -> bytes:
    return b":".join(part.encode() if isinstance(part, str) else part for part in parts)


def _quoted(value: bytes) -> bytes:
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
