"""One authorization request, and what its redirect brings; a whole login stands in test_authority.py."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import CredentialError
from proxy.keys import SigningKey
from proxy.tokens.authorization import Authorization, challenge
from tests.doubles import Script, answer
from tests.proofs import Judge
from tests.tokens.doubles import TOKEN_URL
from tests.tokens.test_requests import TOKEN, form, granting, requests

ENDPOINT = "https://issuer.test/authorize"
REDIRECT = "http://127.0.0.1:5000/callback"
ISSUER = "https://issuer.test"
CANARY = "canary-7e"


def made(script: Script | None = None, **keys: Any) -> Authorization:
    keys = {"authorization_url": ENDPOINT, **keys}
    return Authorization(requests("authorization_code", "none", script, **keys), REDIRECT)


def test_the_challenge_is_as_published() -> None:
    # RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_what_nobody_may_guess_is_long_and_new_each_time() -> None:
    first, second = made(), made()
    assert len(first.verifier) >= 43  # RFC 7636, section 4.1
    assert len(first.state) >= 32
    assert {first.verifier, first.state}.isdisjoint({second.verifier, second.state})
    assert first.state not in repr(first)
    assert first.verifier not in repr(first)


async def test_the_url_says_all_but_the_verifier() -> None:
    authorization = made(scope=["a", "b"], audience="x", resource=["https://r"], extra={"tenant": CANARY})
    url = await authorization.url()
    endpoint, _, query = url.partition("?")
    assert endpoint == ENDPOINT
    assert parse_qsl(query) == [
        ("response_type", "code"), ("client_id", "app"), ("redirect_uri", REDIRECT), ("state", authorization.state),
        ("code_challenge", challenge(authorization.verifier)), ("code_challenge_method", "S256"),
        ("scope", "a b"), ("audience", "x"), ("resource", "https://r"),
    ]  # fmt: skip
    assert authorization.verifier not in url


async def test_a_query_of_the_endpoint_is_kept() -> None:
    url = await made(authorization_url=f"{ENDPOINT}?access_type=offline").url()
    assert url.startswith(f"{ENDPOINT}?access_type=offline&response_type=code&")


async def test_a_code_is_traded_with_its_verifier() -> None:
    script = granting()
    authorization = made(script, scope="a", resource="https://r", extra={"tenant": "x"})
    assert (await authorization.token("c0de")).access_token == TOKEN["access_token"]
    assert form(script) == {
        "grant_type": "authorization_code", "code": "c0de", "redirect_uri": REDIRECT,
        "code_verifier": authorization.verifier, "client_id": "app", "resource": "https://r", "tenant": "x",
    }  # fmt: skip


async def test_a_bound_code_is_redeemed_with_its_key() -> None:
    script = granting({**TOKEN, "token_type": "DPoP"})
    authorization = made(script, dpop=True)
    thumbprint = dict(parse_qsl((await authorization.url()).partition("?")[2]))["dpop_jkt"]
    token = await authorization.token("c0de")
    assert Judge()(script.requests[0].headers["dpop"], "POST", TOKEN_URL) == thumbprint
    assert token.dpop_key is not None
    assert SigningKey.load(token.dpop_key).thumbprint() == thumbprint


async def test_endpoints_are_where_the_issuer_says() -> None:
    metadata = {
        "issuer": ISSUER, "token_endpoint": f"{ISSUER}/t", "authorization_endpoint": f"{ISSUER}/a",
        "authorization_response_iss_parameter_supported": True,
    }  # fmt: skip
    script = granting(metadata, TOKEN)
    begun = await Authorization.begin(
        requests("authorization_code", "none", script, issuer=ISSUER, token_url=None), REDIRECT
    )
    assert (await begun.url()).startswith(f"{ISSUER}/a?")
    assert (begun.issuer, begun.must_name_issuer) == (ISSUER, True)
    await begun.token("c0de")
    assert [request.url.path for request in script.requests][1:] == ["/t"]


async def test_without_an_issuer_nobody_is_asked_for_metadata() -> None:
    script = Script()
    begun = await Authorization.begin(requests("authorization_code", "none", script), REDIRECT)
    assert (begun.issuer, begun.must_name_issuer, script.requests) == ("", False, [])


async def test_a_server_without_an_authorization_endpoint_is_said() -> None:
    metadata = answer(200, [], json.dumps({"issuer": ISSUER, "token_endpoint": f"{ISSUER}/t"}).encode())
    begun = await Authorization.begin(
        requests("authorization_code", "none", Script(metadata), issuer=ISSUER, token_url=None), REDIRECT
    )
    with pytest.raises(CredentialError, match="has no authorization_endpoint; right would be authorization_url"):
        await begun.url()


# -- redirects -------------------------------------------------------------------------------------------------


def issued(authorization: Authorization, **parameters: str) -> str:
    """A redirect's query."""
    return urlencode({"state": authorization.state, **parameters})


def test_a_redirect_brings_the_code() -> None:
    authorization = made()
    assert authorization.code(issued(authorization, code="c+/ 0de")) == "c+/ 0de"
    assert authorization.code(issued(authorization, code="c", iss="https://unknown.test")) == "c"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"state": "other", "code": CANARY}, "belongs to another login: its state differs"),
        ({"state": "", "code": CANARY}, "belongs to another login: its state differs"),
        ({"state": "ä", "error": "access_denied"}, "belongs to another login: its state differs"),
        ({"error": "access_denied", "error_description": ""}, r"refused: access_denied$"),
        ({"error": "own_code", "error_description": "No\x1b[31m,\nno."}, r"refused: own_code \(No, no\.\)$"),
        ({"error": "a", "error_description": CANARY, "code": CANARY}, r"refused: a \(\*\*\*\)$"),
        ({"error": "a", "error_description": "x" * 400}, r"refused: a \(x{296}…$"),
        ({"error": ""}, "refused: no error code"),
        ({"code": ""}, "has no code"),
        ({}, "has no code"),
    ],
)  # fmt: skip
def test_one_that_is_none_is_said_and_not_repeated(query: dict[str, str], says: str) -> None:
    authorization = made()
    with pytest.raises(CredentialError, match=says) as caught:
        authorization.code(issued(authorization, **query))
    assert CANARY not in str(caught.value)


def test_a_parameter_twice_is_no_redirect() -> None:
    authorization = made()
    with pytest.raises(CredentialError, match="has a parameter twice"):
        authorization.code(issued(authorization, code="c") + "&code=d")


@pytest.mark.parametrize(
    ("iss", "must", "good"),
    [(ISSUER, True, True), (ISSUER, False, True), (None, False, True), (None, True, False), ("", False, False),
     ("https://evil.test", True, False), ("https://evil.test", False, False), (f"{ISSUER}/", True, False)],
)  # fmt: skip
@pytest.mark.parametrize("outcome", ["code", "error"])
def test_another_server_s_redirect_is_refused(iss: str | None, must: bool, good: bool, outcome: str) -> None:
    authorization = Authorization(requests("authorization_code", "none"), REDIRECT, ISSUER, must)
    query = issued(authorization, **{outcome: "access_denied"}, **({} if iss is None else {"iss": iss}))
    if good and outcome == "code":
        assert authorization.code(query) == "access_denied"
        return
    with pytest.raises(CredentialError, match="refused: access_denied" if good else "another authorization server's"):
        authorization.code(query)


def test_an_error_never_shows_what_is_secret() -> None:
    authorization = made()
    query = issued(authorization, error="a", error_description=f"{authorization.state} {authorization.verifier}")
    with pytest.raises(CredentialError, match=r"refused: a \(\*\*\* \*\*\*\)$"):
        authorization.code(query)


def test_only_a_redirect_with_its_state_is_expected() -> None:
    authorization = made()
    state = authorization.state
    for query in (f"state={state}", f"code=a&state={state}", f"error=b&state={state}&code"):
        assert authorization.expects(query)
    for query in ("", "code=a", "state=", f"state={state}x", f"state={state[:-1]}", f"State={state}", "state=%ff%00",
                  f"state={state}&state={state}", f"state=x&state={state}", f"%73tate={state}x"):  # fmt: skip
        assert not authorization.expects(query)


@given(st.text())
def test_whatever_comes_is_judged(query: str) -> None:
    assert not made().expects(query)
    with pytest.raises(CredentialError):
        made().code(query)
