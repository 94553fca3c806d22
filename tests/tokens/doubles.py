"""What the tests of tokens share: a client from a table, keys, and what a JWT says."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from functools import cache
from typing import Any

from proxy.clock import Clock
from proxy.keys import SigningKey
from proxy.tokens import Client
from proxy.tokens.settings import ClientSettings
from tests.doubles import FakeClock

TOKEN_URL = "https://issuer.test/token"


@cache
def private_jwk() -> str:
    return SigningKey.generate().private_jwk()


def settings(**keys: Any) -> ClientSettings:
    return ClientSettings.model_validate({"grant": "client_credentials", "token_url": TOKEN_URL, **keys})


def client(clock: Clock | None = None, **keys: Any) -> Client:
    return Client("api", settings(**keys), TOKEN_URL, clock or FakeClock())


def parts(jwt: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT, unverified."""
    header, payload, _ = jwt.split(".")
    return _decoded(header), _decoded(payload)


def _decoded(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found
