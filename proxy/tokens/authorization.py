"""One authorization request, and what its redirect brings (RFC 6749, section 4.1; RFC 7636; RFC 9207).

Nothing here waits or listens. Of a redirect only an error is shown, masked: its code is as good as a token to who has
the verifier.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from urllib.parse import parse_qsl, urlencode

from proxy.errors import CredentialError
from proxy.keys import SigningKey, base64url
from proxy.stores import Token
from proxy.tokens._errortext import shown
from proxy.tokens.requests import TokenRequests


def challenge(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636, section 4.2)."""
    return base64url(sha256(verifier.encode()).digest())


@dataclass(frozen=True, slots=True)
class Authorization:
    """A request that a browser takes to the authorization server.

    Attributes:
        redirect_uri: where the browser is sent afterwards.
        state: what the redirect has to bring back.
        verifier: what only this client knows (RFC 7636).
        issuer: what the redirect's ``iss`` has to be; empty if that is not known.
        must_name_issuer: whether the server always sends ``iss``.

    """

    requests: TokenRequests
    redirect_uri: str
    issuer: str = ""
    must_name_issuer: bool = False
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @classmethod
    async def begin(cls, requests: TokenRequests, redirect_uri: str) -> Authorization:
        """Return a new one.

        Raises:
            CredentialError, TokenEndpointDown: the issuer's metadata can't be had.

        """
        metadata = await requests.server.metadata()
        must = metadata.get("authorization_response_iss_parameter_supported") is True
        return cls(requests, redirect_uri, requests.settings.issuer or "", must)

    async def url(self) -> str:
        """Return where the user has to go.

        Raises:
            SecretError: ``client_id`` can't be had.
            CredentialError: the server has no authorization endpoint.

        """
        requests = self.requests
        endpoint = await requests.server.url("authorization_url", "authorization_endpoint")
        client = await requests.client()
        query = [
            ("response_type", "code"),
            ("client_id", await client.value("client_id")),
            ("redirect_uri", self.redirect_uri),
            ("state", self.state),
            ("code_challenge", challenge(self.verifier)),
            ("code_challenge_method", "S256"),
            *requests.settings.wishes(),
        ]
        if requests.login_key is not None:
            query.append(("dpop_jkt", SigningKey.load(requests.login_key).thumbprint()))  # RFC 9449, section 10
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    def expects(self, query: str) -> bool:
        """Whether a redirect with this query belongs to this login: it has its state, once."""
        states = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "state"]
        return len(states) == 1 and compare_digest(states[0].encode("utf-8", "replace"), self.state.encode())

    def code(self, query: str) -> str:
        """Return the code that a redirect brings.

        Args:
            query: of the redirect's URL.

        Raises:
            CredentialError: the redirect is another request's or another server's, or the user said no.

        """
        pairs = parse_qsl(query, keep_blank_values=True)
        found = dict(pairs)
        if not self.expects(query):
            raise CredentialError("the redirect belongs to another login: its state differs")
        if len(found) < len(pairs):
            raise CredentialError("the redirect has a parameter twice")
        named = found.get("iss")
        if self.issuer and (named != self.issuer if named is not None else self.must_name_issuer):
            raise CredentialError("the redirect is another authorization server's: its iss differs from issuer")
        if "error" in found:
            raise CredentialError(f"the authorization server refused: {self._said(found)}")
        if not found.get("code"):
            raise CredentialError("the redirect has no code")
        return found["code"]

    def _said(self, found: dict[str, str]) -> str:
        """Return the error that a redirect reports, as it may be shown (RFC 6749, section 4.1.2.1)."""
        error, description = found["error"] or "no error code", found.get("error_description", "")
        said = f"{error} ({description})" if description else error
        return shown(said, [self.state, self.verifier, found.get("code", "")])

    async def token(self, code: str) -> Token:
        """Trade a code for a token; otherwise as `TokenRequests.redeem`."""
        return await self.requests.redeem(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self.redirect_uri,
                "code_verifier": self.verifier,
            }
        )
