"""Encryption of what a store writes: AES-256-GCM under a key that scrypt derives from the configured one.

The derived key stays the same as long as the salt in the store does, so it is derived once a process.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

METHOD = "scrypt-32768-8-1/aes-256-gcm"
_SALT, _NONCE, _CHECK = 16, 12, 16


class WrongKeyError(Exception):
    """What is sealed was sealed with another key."""


class Cipher:
    """Seals and unseals with one configured key; for one thread at a time."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._derived: tuple[bytes, AESGCM, bytes] | None = None

    def seal(self, plain: bytes) -> dict[str, str]:
        """Encrypt `plain`, as fields for a JSON document."""
        salt, aes, check = self._derived or self._derive(os.urandom(_SALT))
        nonce = os.urandom(_NONCE)
        parts = {"salt": salt, "check": check, "nonce": nonce, "data": aes.encrypt(nonce, plain, _bound())}
        return {"cipher": METHOD} | {name: base64.b64encode(part).decode() for name, part in parts.items()}

    def unseal(self, fields: Mapping[str, object]) -> bytes:
        """Decrypt what `seal` gave.

        Raises:
            WrongKeyError: it was another key, or salt or check were altered.
            ValueError: it is not what `seal` gives, or was altered.

        """
        salt, check, nonce, data = (_bytes(fields, name) for name in ("salt", "check", "nonce", "data"))
        if len(salt) != _SALT or len(nonce) != _NONCE or len(check) != _CHECK:
            raise ValueError("a part has the wrong length")
        if self._derived is None or self._derived[0] != salt:
            self._derive(salt)
        assert self._derived is not None
        _, aes, expected = self._derived
        if not hmac.compare_digest(check, expected):
            raise WrongKeyError
        try:
            return aes.decrypt(nonce, data, _bound())
        except InvalidTag:
            raise ValueError("it was altered") from None

    def _derive(self, salt: bytes) -> tuple[bytes, AESGCM, bytes]:
        # The second half only tells a wrong key from a damaged file, which GCM alone can't.
        derived = Scrypt(salt=salt, length=32 + _CHECK, n=2**15, r=8, p=1).derive(self._key)
        self._derived = salt, AESGCM(derived[:32]), derived[32:]
        return self._derived


def _bound() -> bytes:
    return METHOD.encode()


def _bytes(fields: Mapping[str, object], name: str) -> bytes:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return base64.b64decode(value, validate=True)
