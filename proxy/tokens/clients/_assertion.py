"""A JWT that a client signs to say who it is (RFC 7523, sections 2.2 and 3)."""

from __future__ import annotations

from uuid import uuid4

from proxy.keys import SigningKey
from proxy.tokens import Client
from proxy.tokens.clients import Identity

LIFE = 60  # seconds
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def assertion(client: Client, key: SigningKey) -> Identity:
    """Return the form fields of a client that signs by `key`; each JWT is good for one request.

    Raises:
        SecretError: a secret can't be had.

    """
    client_id = await client.value("client_id")
    now = int(client.clock.time())
    claims: dict[str, object] = {
        "iss": client_id,
        "sub": client_id,
        # Its issuer is the safer name of a server; one that is known by its endpoint only is named by that.
        "aud": client.settings.server,
        "iat": now,
        "exp": now + LIFE,
        "jti": uuid4().hex,
    }
    if client.settings.grant != "jwt_bearer":  # there they are the grant's own JWT's
        claims |= client.settings.claims
    return {"client_id": client_id, "client_assertion_type": TYPE, "client_assertion": key.sign(claims)}, {}
