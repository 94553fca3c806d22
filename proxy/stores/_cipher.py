"""Encryption of what a store writes: AES-256-GCM under a key that scrypt derives from the configured one.

A derived key stays the same as long as the salt in the store does, so it is derived once a process; those who
share a store take up the salt that they find.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

METHOD = "scrypt-32768-8-1/aes-256-gcm"
REMEMBERED = 32  # derived keys, some 0.1 s of work each
_BOUND = METHOD.encode()
_SALT, _NONCE, _CHECK = 16, 12, 16


class WrongKeyError(Exception):
    """What is sealed was sealed with another key."""


class Cipher:
    """Seals with the first of the configured keys and unseals with any; for one thread at a time."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)
        self._salt = os.urandom(_SALT)
        self._known: dict[tuple[bytes, bytes], tuple[AESGCM, bytes]] = {}

    def seal(self, plain: bytes) -> dict[str, str]:
        """Encrypt `plain`, as fields for a JSON document."""
        aes, check = self._derived(self._keys[0], self._salt)
        nonce = os.urandom(_NONCE)
        parts = {"salt": self._salt, "check": check, "nonce": nonce, "data": aes.encrypt(nonce, plain, _BOUND)}
        return {"cipher": METHOD} | {name: base64.b64encode(part).decode() for name, part in parts.items()}

    def unseal(self, fields: Mapping[str, object]) -> bytes:
        """Decrypt what `seal` gave.

        Raises:
            WrongKeyError: it was none of the keys, or salt or check were altered.
            ValueError: it is not what `seal` gives, or was altered.

        """
        salt, check, nonce, data = (_bytes(fields, name) for name in ("salt", "check", "nonce", "data"))
        if len(salt) != _SALT or len(nonce) != _NONCE or len(check) != _CHECK:
            raise ValueError("a part has the wrong length")
        from cryptography.exceptions import InvalidTag

        aes = self._found(salt, check)
        try:
            return aes.decrypt(nonce, data, _BOUND)
        except InvalidTag:
            raise ValueError("it was altered") from None

    def _found(self, salt: bytes, check: bytes) -> AESGCM:
        for key in self._keys:
            aes, expected = self._derived(key, salt)
            if hmac.compare_digest(check, expected):
                if key is self._keys[0]:
                    self._salt = salt
                return aes
        raise WrongKeyError

    def _derived(self, key: bytes, salt: bytes) -> tuple[AESGCM, bytes]:
        known = self._known.get((key, salt))
        if known is None:
            # Here, since few have a key, and at start it is in everyone's way.
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

            # The second half only tells a wrong key from a damaged file, which GCM alone can't.
            derived = Scrypt(salt=salt, length=32 + _CHECK, n=2**15, r=8, p=1).derive(key)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[key, salt] = AESGCM(derived[:32]), derived[32:]
        return known


def _bytes(fields: Mapping[str, object], name: str) -> bytes:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return base64.b64decode(value, validate=True)
