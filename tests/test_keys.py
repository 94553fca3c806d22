"""Keys that sign: judged by Authlib's JOSE, and by the examples of RFC 7638 and RFC 9449."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc import jwk, jwt

from proxy.errors import SecretError
from proxy.keys import SigningKey

PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
EVERY = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


def pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return str(key.private_bytes(Encoding.PEM, form, NoEncryption()).decode())


def public_pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def public(key: Any) -> jwk.Key:
    """The public half as the verifier knows it."""
    if isinstance(key, rsa.RSAPrivateKey):
        return jwk.RSAKey.import_key(public_pem(key))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return jwk.ECKey.import_key(public_pem(key))
    return jwk.OKPKey.import_key(public_pem(key))


def key_for(algorithm: str) -> Any:
    return PRIVATE["RS256" if algorithm[:2] in ("RS", "PS") else algorithm]


def verified(token: str, key: Any, algorithm: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, if the signature is right."""
    found = jwt.decode(token, key, algorithms=[algorithm])
    return found.header, found.claims


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # its successor's name (RFC 9864) few servers know yet
@pytest.mark.parametrize("algorithm", EVERY)
@pytest.mark.parametrize("form", ["pem", "one line", "jwk"])
def test_what_it_signs_is_verified_by_the_public_half(algorithm: Any, form: str) -> None:
    text = pem(key_for(algorithm))
    if form == "one line":
        text = text.replace("\n", "\\n")
    elif form == "jwk":
        text = SigningKey.load(text).private_jwk()
    token = SigningKey.load(text, algorithm).sign({"iss": "a", "n": 1}, {"typ": "x+jwt", "kid": "k"})
    header, claims = verified(token, public(key_for(algorithm)), algorithm)
    assert (header, claims) == ({"alg": algorithm, "typ": "x+jwt", "kid": "k"}, {"iss": "a", "n": 1})


@pytest.mark.parametrize("algorithm", list(PRIVATE))
def test_the_algorithm_follows_from_the_key(algorithm: str) -> None:
    assert SigningKey.load(pem(PRIVATE[algorithm])).algorithm == algorithm


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_older_forms_of_pem_will_do(algorithm: str, form: PrivateFormat) -> None:
    assert SigningKey.load(pem(PRIVATE[algorithm], form)).algorithm == algorithm


def test_a_jwk_names_itself_and_its_algorithm() -> None:
    table = {**json.loads(SigningKey.load(pem(PRIVATE["RS256"])).private_jwk()), "kid": "k1", "alg": "PS384"}
    key = SigningKey.load(json.dumps(table))
    assert (key.algorithm, key.key_id) == ("PS384", "k1")
    header, _ = verified(key.sign({}), public(PRIVATE["RS256"]), "PS384")
    assert header == {"alg": "PS384", "typ": "JWT", "kid": "k1"}
    other = SigningKey.load(json.dumps(table), "RS256", "k2")
    assert (other.algorithm, other.key_id) == ("RS256", "k2")


def test_ed448_signs_too() -> None:
    key = ed448.Ed448PrivateKey.generate()
    assert SigningKey.load(pem(key)).sign({}).count(".") == 2


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_shared_secret_signs_however_short_it_is(algorithm: Any) -> None:
    token = SigningKey.shared("short", algorithm).sign({"a": 1})
    assert SigningKey.shared("short").algorithm == "HS256"
    with pytest.warns(UserWarning, match="bits"):
        key = jwk.OctKey.import_key("short")
    assert verified(token, key, algorithm)[1] == {"a": 1}


def oct_jwk() -> str:
    return json.dumps({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"})


def test_so_does_one_that_is_a_jwk() -> None:
    key = SigningKey.load(oct_jwk(), "HS512")
    assert verified(key.sign({"a": 1}), jwk.import_key(json.loads(oct_jwk())), "HS512")[1] == {"a": 1}


WRONG = {
    "nothing": ("canary-x", "is no PEM"),
    "public pem": (public_pem(PRIVATE["ES256"]), "is no PEM of a private key but a public key; expected a private key"),
    "certificate": ("-----BEGIN CERTIFICATE-----\ncanary", "is no PEM of a private key but a certificate; expected"),
    "cut": (pem(PRIVATE["ES256"])[:-80], "is no PEM"),
    "with a password": (
        PRIVATE["ES256"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"p")).decode(),
        "has a password",
    ),
    "another kind": (pem(x25519.X25519PrivateKey.generate()), "of a kind that signs no JWT"),
    "dsa": (pem(dsa.generate_private_key(1024)), "of a kind that signs no JWT"),
    "koblitz": (pem(ec.generate_private_key(ec.SECP256K1())), "of a kind that signs no JWT"),
    "weak": (pem(rsa.generate_private_key(65537, 1024)), "has 1024 bits; right would be at least 2048"),
    "bottomless jwk": ('{"canary-x": ' + "[" * 100_000, "is no JWK"),
    "torn jwk": ('{"kty": "EC", "d": "canary-x"', "is no JWK"),
    "jwk of nothing": ('{"d": "canary-x"}', "is no JWK"),
    "jwk of another kind": ('{"kty": "canary-x"}', "is no JWK"),
    "list of jwks": ('{"keys": []}', "is no JWK"),
    "public jwk": (json.dumps(SigningKey.load(pem(PRIVATE["ES256"])).public_jwk()), "is a public JWK"),
    "empty": ("", "is no PEM"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_what_is_no_private_key_is_said_and_not_repeated(name: str) -> None:
    text, says = WRONG[name]
    with pytest.raises(SecretError, match=says) as caught:
        SigningKey.load(text)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("algorithm", "text", "right"),
    [("RS256", pem(PRIVATE["ES256"]), "ES256"), ("ES256", pem(PRIVATE["ES384"]), "ES384"),
     ("HS256", pem(PRIVATE["RS256"]), "RS256 or"), ("ES256", oct_jwk(), "HS256 or")],
)  # fmt: skip
def test_an_algorithm_of_another_kind_of_key_is_said_with_what_would_be_right(
    algorithm: Any, text: str, right: str
) -> None:
    with pytest.raises(SecretError, match=f"does not sign by {algorithm}; right would be {right}"):
        SigningKey.load(text, algorithm)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_for_hmac_a_key_is_plain_text_or_a_jwk(algorithm: Any) -> None:
    key = SigningKey.load("plain text of any kind", algorithm, "k1")
    assert (key.algorithm, key.key_id, SigningKey.load(oct_jwk(), algorithm).algorithm) == (algorithm, "k1", algorithm)


def test_without_an_algorithm_plain_text_is_a_key_only_where_that_is_meant() -> None:
    with pytest.raises(SecretError, match=r'is no PEM; expected .* as JWK; for a shared secret, algorithm = "HS256"$'):
        SigningKey.load("canary-x")
    assert SigningKey.load("canary-x", plain=True).algorithm == "HS256"
    with pytest.raises(SecretError, match="is no PEM; expected"):
        SigningKey.load("what another file holds", plain=True)


def test_a_shared_secret_knows_its_own_only() -> None:
    with pytest.raises(SecretError, match="does not sign by RS256; right would be HS256 or"):
        SigningKey.shared("s", "RS256")


def test_what_is_no_json_can_not_be_signed() -> None:
    with pytest.raises(SecretError, match="can't sign this"):
        SigningKey.shared("s").sign({"a": object()})


def test_it_does_not_show_itself() -> None:
    key = SigningKey.generate()
    assert f"{key!r} {key}" == "SigningKey(ES256) SigningKey(ES256)"


def test_one_that_is_made_comes_back_from_its_jwk() -> None:
    key = SigningKey.generate()
    again = SigningKey.load(key.private_jwk())
    assert (again.algorithm, again.public_jwk()) == ("ES256", key.public_jwk())
    assert key.public_jwk().keys() == {"crv", "kty", "x", "y"}


# -- published examples ----------------------------------------------------------------------------------------

# RFC 7638, section 3.1.
RFC7638 = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3o"
    "knjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qM"
    "QvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKn"
    "qDKgw",
    "e": "AQAB",
}
# RFC 9449, section 4.1 shows the key, section 6.1 its thumbprint.
RFC9449 = {
    "kty": "EC",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    "crv": "P-256",
}


@pytest.mark.parametrize(
    ("public", "algorithm", "thumbprint"),
    [(RFC7638, "RS256", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
     (RFC9449, "ES256", "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I")],
)  # fmt: skip
def test_thumbprints_are_as_published(public: dict[str, str], algorithm: str, thumbprint: str) -> None:
    class Half:
        """Of which only the public half is known."""

        def public_key(self) -> object:
            from jwt import PyJWK

            return PyJWK(public).key

    key = SigningKey(Half(), algorithm)
    assert key.public_jwk() == public
    assert key.thumbprint() == thumbprint


def test_the_library_is_loaded_when_a_key_is() -> None:
    program = "import sys, proxy.keys; sys.exit('jwt' in sys.modules or 'cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
