"""A key that signs, and its public half, which verifies what the credentials signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

RSA = rsa.generate_private_key(65537, 2048)
PEM = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
EMAIL = "robot@project.iam.gserviceaccount.com"


def verified(token: str, audience: str | None = None) -> dict[str, Any]:
    """Claims of a JWT that the key signed; its times are not judged."""
    claims: dict[str, Any] = jwt.decode(
        token, RSA.public_key(), ["RS256"], audience=audience, options={"verify_exp": False, "verify_iat": False}
    )
    return claims


def key_file(folder: Path, token_url: str = "https://issuer.test/token", **changes: Any) -> Path:
    """A service account's key as Google gives it."""
    file = folder / "account.json"
    told = {
        "type": "service_account", "project_id": "project", "private_key_id": "k1", "private_key": PEM,
        "client_email": EMAIL, "client_id": "1", "token_uri": token_url, **changes,
    }  # fmt: skip
    file.write_text(json.dumps(told, indent=2))
    return file
