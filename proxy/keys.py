"""Keys that sign, PEM or JWK (RFC 7517), and the JWTs that they sign (RFC 7515, RFC 7519).

Nothing here verifies anything. PyJWT is loaded when a key is: who signs nothing does not wait for it.
"""

from __future__ import annotations

import json
import re
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from proxy.errors import SecretError

if TYPE_CHECKING:
    from jwt import PyJWK
    from jwt.algorithms import Algorithm as Signing

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512",
]  # fmt: skip
EXPECTED = "expected a private key, as PEM without a password or as JWK"
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_HMAC = ("HS256", "HS384", "HS512")
_LABEL = re.compile(r"-----BEGIN ((?:RSA )?PUBLIC KEY|CERTIFICATE(?: REQUEST)?)-----")
_SMALLEST_RSA = 2048  # bits; RFC 7518, sections 3.3 and 3.5
_THUMBPRINT = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}


def prepare() -> None:
    """Load what signing needs, which takes longer than to sign: no request should wait for it."""
    import jwt  # noqa: F401  # see above


class SigningKey:
    """A private key, or a shared one, with the algorithm that it signs by; shows nothing of itself.

    Attributes:
        algorithm: as a JWS has it (RFC 7518, section 3.1).
        key_id: as its JWK names it, or None.

    """

    def __init__(self, key: Any, algorithm: str, key_id: str | None = None) -> None:  # Any: one of cryptography's
        self._key = key
        self.algorithm = algorithm
        self.key_id = key_id

    @classmethod
    def load(
        cls, text: str, algorithm: Algorithm | None = None, key_id: str | None = None, *, plain: bool = False
    ) -> SigningKey:
        """Take a private key from PEM (PKCS #8, PKCS #1, SEC 1) or a JWK; for HMAC also a shared secret as it is.

        Args:
            text: the key; a PEM's line breaks may be written as ``\\n``.
            algorithm: what to sign by; None for what a JWK says or the kind of the key suggests.
            key_id: what it is named; None for what a JWK says.
            plain: whether a text without white space is a shared secret, though no `algorithm` says so.

        Raises:
            SecretError: it is no such key, is too weak, or signs by other algorithms. Nothing of it is repeated.

        """
        key, told, named = _read(text, algorithm, plain=plain)
        possible = _algorithms(key)
        chosen = algorithm or told or possible[0]
        if chosen not in possible:
            raise SecretError(f"the key does not sign by {chosen}; right would be {' or '.join(possible)}")
        return cls(key, chosen, key_id or named)

    @classmethod
    def shared(cls, secret: str, algorithm: Algorithm | None = None) -> SigningKey:
        """Take a secret that both sides know, for an HMAC.

        Raises:
            SecretError: `algorithm` is none of HMAC's.

        """
        if algorithm is not None and algorithm not in _HMAC:
            raise SecretError(f"a shared secret does not sign by {algorithm}; right would be {' or '.join(_HMAC)}")
        return cls(secret.encode(), algorithm or "HS256")

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new one for ES256."""
        from cryptography.hazmat.primitives.asymmetric import ec

        return cls(ec.generate_private_key(ec.SECP256R1()), "ES256")

    def __repr__(self) -> str:
        return f"SigningKey({self.algorithm})"

    def sign(self, claims: Mapping[str, object], headers: Mapping[str, object] | None = None) -> str:
        """Return a JWT.

        Args:
            claims: its payload, as JSON knows it.
            headers: its header's fields beside ``alg``; ``typ`` is JWT and ``kid`` the key's own unless given.

        Raises:
            SecretError: it can't be signed so.

        """
        import jwt

        fields = ({"kid": self.key_id} if self.key_id else {}) | dict(headers or {})
        try:
            with warnings.catch_warnings():
                # How long a shared secret is was settled by the other side.
                warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
                return jwt.encode(dict(claims), self._key, self.algorithm, fields)
        except (jwt.PyJWTError, TypeError, ValueError) as failure:
            kind = type(failure).__name__
        raise SecretError(f"the key can't sign this ({kind})")

    def private_jwk(self) -> str:
        """Return all of it, secret parts included, as `load` takes it."""
        return json.dumps(self._jwk(self._key))

    def public_jwk(self) -> dict[str, str]:
        """Return the half that may be known (RFC 7517), with no more members than RFC 7638 wants."""
        full = self._jwk(self._key.public_key())
        return {name: str(full[name]) for name in _THUMBPRINT[str(full["kty"])]}

    def thumbprint(self) -> str:
        """Return the public half's SHA-256 (RFC 7638), in base64url."""
        text = json.dumps(self.public_jwk(), separators=(",", ":"), sort_keys=True)
        return base64url(sha256(text.encode()).digest())

    def _jwk(self, key: Any) -> dict[str, object]:  # Any: one of cryptography's
        from jwt.algorithms import get_default_algorithms

        signing: Signing = get_default_algorithms()[self.algorithm]
        return signing.to_jwk(key, as_dict=True)


def base64url(content: bytes) -> str:
    """Without padding, as JOSE has it (RFC 7515, section 2)."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _read(text: str, algorithm: str | None, *, plain: bool) -> tuple[Any, str | None, str | None]:
    """Return a key, one of cryptography's (Any) or of bytes, and what it says of algorithm and name."""
    if text.lstrip().startswith("{"):
        return _from_jwk(text)
    if "-----BEGIN " in text:
        return _from_pem(text), None, None
    if algorithm in _HMAC or (plain and algorithm is None and len(text.split()) == 1):
        return text.encode(), None, None
    hint = '; for a shared secret, algorithm = "HS256"' if algorithm is None else ""
    raise SecretError(f"the key is no PEM; {EXPECTED}{hint}")


def _from_pem(text: str) -> Any:  # Any: one of cryptography's
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        # Variables of the environment often hold a key in one line.
        return load_pem_private_key(text.replace("\\n", "\n").encode(), None)
    except TypeError:
        problem = "the key has a password"
    except (ValueError, UnsupportedAlgorithm):
        found = _LABEL.search(text)
        problem = "the key is no PEM" + ("" if found is None else f" of a private key but a {found[1].lower()}")
    raise SecretError(f"{problem}; {EXPECTED}")


def _from_jwk(text: str) -> tuple[Any, str | None, str | None]:  # Any: one of cryptography's
    import jwt

    made: PyJWK | None = None
    told: dict[str, object] = {}
    try:
        told = json.loads(text)
        made = jwt.PyJWK(told)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass  # raised outside: a JSONDecodeError has the whole text on it
    if made is None:
        raise SecretError(f"the key is no JWK; {EXPECTED}")
    if made.key_type != "oct" and not hasattr(made.key, "private_bytes"):
        raise SecretError(f"the key is a public JWK; {EXPECTED}")
    named = told.get("alg")
    return made.key, named if isinstance(named, str) else None, made.key_id


def _algorithms(key: Any) -> tuple[str, ...]:  # Any: one of cryptography's
    """What `key` can sign by, the usual one first."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(key, bytes):
        return _HMAC
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _SMALLEST_RSA:
            raise SecretError(f"the key has {key.key_size} bits; right would be at least {_SMALLEST_RSA}")
        return _RSA
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return (_CURVES[key.curve.name],)
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return ("EdDSA",)
    raise SecretError("the key is of a kind that signs no JWT; right would be RSA, P-256, P-384, P-521 or Ed25519")
