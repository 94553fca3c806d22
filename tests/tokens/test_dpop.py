"""Proofs that a key is held: judged by joserfc, and by the example of RFC 9449."""

from __future__ import annotations

import httpx
import pytest

from proxy.keys import SigningKey
from proxy.tokens.dpop import Nonces, Prover
from tests.doubles import START, FakeClock
from tests.proofs import Judge, ProofError
from tests.tokens.doubles import parts

URL = "https://api.test/base/x"


@pytest.fixture
def prover() -> Prover:
    return Prover(SigningKey.generate(), FakeClock())


def test_a_proof_is_for_one_request(prover: Prover) -> None:
    judge = Judge()
    proof = prover.proof("GET", f"{URL}?a=1#b", None, "token")
    assert judge(proof, "GET", URL, "token") == prover.key.thumbprint()
    others = [("POST", URL, "token"), ("GET", f"{URL}/y", "token"), ("GET", URL, "other"), ("GET", URL, None)]
    for method, url, token in others:
        with pytest.raises(ProofError):
            Judge()(proof, method, url, token)
    with pytest.raises(ProofError, match="jti"):
        judge(proof, "GET", URL, "token")
    assert judge(prover.proof("GET", URL, None, "token"), "GET", URL, "token")


def test_its_fields(prover: Prover) -> None:
    header, claims = parts(prover.proof("POST", URL, "n-1"))
    assert header == {"typ": "dpop+jwt", "alg": "ES256", "jwk": prover.key.public_jwk()}
    assert "d" not in header["jwk"]
    assert len(claims.pop("jti")) == 32
    assert claims == {"htm": "POST", "htu": URL, "iat": int(START), "nonce": "n-1"}


def test_a_token_s_hash_is_as_published(prover: Prover) -> None:
    # RFC 9449, section 7.1.
    token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
    _, claims = parts(prover.proof("GET", URL, None, token))
    assert claims["ath"] == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


def heeded(nonces: Nonces, nonce: str, used: str | None, server: str = "a") -> bool:
    return nonces.heed(server, httpx.Headers({"DPoP-Nonce": nonce}), used)


def test_a_nonce_is_the_server_s_that_gave_it() -> None:
    nonces = Nonces()
    assert nonces.of("a") is None
    assert heeded(nonces, "1", None)
    assert (nonces.of("a"), nonces.of("b")) == ("1", None)
    assert heeded(nonces, "2", "1")
    assert nonces.of("a") == "2"


def test_one_that_was_used_already_is_not_news_but_is_to_who_used_none() -> None:
    nonces = Nonces()
    assert heeded(nonces, "1", None)
    assert not heeded(nonces, "1", "1")
    assert heeded(nonces, "1", None), "two requests at once have both been told"


@pytest.mark.parametrize("nonce", ["", " ", 'a"b', "a\\b", "a b", "ä", "x" * 1025])
def test_what_is_no_nonce_is_left(nonce: str) -> None:
    nonces = Nonces()
    assert not nonces.heed("a", httpx.Headers([(b"DPoP-Nonce", nonce.encode("latin-1"))]), None)
    assert nonces.of("a") is None


def test_an_answer_without_one_changes_nothing() -> None:
    nonces = Nonces()
    heeded(nonces, "1", None)
    assert not nonces.heed("a", httpx.Headers(), None)
    assert nonces.of("a") == "1"
