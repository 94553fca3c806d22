"""The check of ``/hmac``: a signature over method, target, timestamp, nonce and body, each used once.

What is signed is :data:`STRING_TO_SIGN`: target is the raw one as it reaches the API, body_hash the SHA-256
of the raw body in hex. A refusal says what differs and shows the string that the API has signed, never the
signature that would have been right.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Final

from proxy.demo import accounts
from proxy.demo.call import Call
from proxy.demo.checks import same
from proxy.demo.refusal import Refusal

STRING_TO_SIGN: Final = "{method}\n{target}\n{timestamp}\n{nonce}\n{body_hash}"
WINDOW: Final = 300  # seconds that a timestamp may be off, either way
FIELDS: Final = ("X-Key-Id", "X-Timestamp", "X-Nonce", "X-Signature")

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_NONCE = re.compile(r"[!-~]{1,128}")


class SignatureCheck:
    """Checks signatures and remembers nonces."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._nonces: dict[str, float] = {}  # to the time when it may be forgotten; the oldest stands first

    async def __call__(self, call: Call) -> str:
        """Want a fresh and right signature."""
        key_id, timestamp, nonce, signature = (_field(call, name) for name in FIELDS)
        signed = STRING_TO_SIGN.format(
            method=call.method,
            target=call.target,
            timestamp=timestamp,
            nonce=nonce,
            body_hash=(await call.body()).sha256,
        )
        if not same(key_id, accounts.KEY_ID):
            raise _refused("X-Key-Id is not a known key.", signed)
        if not same(signature, _signature(signed)):
            raise _refused(
                "X-Signature is not the hex HMAC-SHA256 of what the API signed: wrong secret or string.",
                signed,
            )
        self._check_time(timestamp, signed)
        self._check_nonce(nonce, signed)
        return f"HMAC-SHA256, key {accounts.KEY_ID}"

    def _check_time(self, timestamp: str, signed: str) -> None:
        if not _TIMESTAMP.fullmatch(timestamp):
            raise _refused("X-Timestamp is not a number of seconds since 1970.", signed)
        off = int(timestamp) - self._clock()
        if abs(off) > WINDOW:
            side = "ahead of" if off > 0 else "behind"
            hint = f"X-Timestamp is {abs(off):.0f} s {side} the API's clock; {WINDOW} s are allowed."
            raise _refused(hint, signed)

    def _check_nonce(self, nonce: str, signed: str) -> None:
        if not _NONCE.fullmatch(nonce):
            raise _refused("X-Nonce is not of 1 to 128 visible ASCII characters.", signed)
        now = self._clock()
        while self._nonces and next(iter(self._nonces.values())) < now:
            del self._nonces[next(iter(self._nonces))]
        if nonce in self._nonces:
            raise _refused("X-Nonce was used before; each request wants a new one.", signed)
        # A timestamp from the future is good for the window's two halves.
        self._nonces[nonce] = now + 2 * WINDOW


def _field(call: Call, name: str) -> str:
    values = call.fields(name)
    if len(values) != 1:
        raise _refused(f"{name} was sent {len(values)} times; it is wanted once.")
    return values[0]


def _signature(signed: str) -> str:
    content = signed.encode("utf-8", "surrogateescape")
    return hmac.new(accounts.KEY_SECRET.encode(), content, hashlib.sha256).hexdigest()


def _refused(hint: str, signed: str | None = None) -> Refusal:
    details: Mapping[str, object] = {} if signed is None else {"signed": signed}
    headers = {"WWW-Authenticate": 'Demo-HMAC realm="demo"'}
    return Refusal(401, "invalid_signature", hint, headers=headers, details=details)
