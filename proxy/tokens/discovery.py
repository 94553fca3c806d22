"""Where an authorization server's endpoints are: as configured, or as its metadata says (RFC 8414, OpenID Connect).

A document is believed if it is the issuer's own: it says so, was not redirected to, and names endpoints that a
secret may be sent to.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from proxy.clock import Clock
from proxy.errors import CredentialError, TokenEndpointDown
from proxy.tokens.endpoint import Endpoint
from proxy.tokens.settings import ClientSettings, check_url
from proxy.transport.outgoing import is_inside

MAX_AGE = 3600.0  # seconds that metadata is believed
_OAUTH, _OPENID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"

Metadata = dict[str, object]


class AuthorizationServer:
    """The server of one credential.

    Args:
        client: raises `UpstreamError`.

    """

    def __init__(self, settings: ClientSettings, client: httpx.AsyncBaseTransport, clock: Clock) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._metadata: Metadata = {}
        self._read_at = 0.0

    async def token_url(self) -> str:
        """Return where tokens are asked for; otherwise as `url`."""
        return await self.url("token_url", "token_endpoint")

    async def url(self, key: str, member: str) -> str:
        """Return an endpoint.

        Args:
            key: what it is in the configuration.
            member: what it is in the metadata.

        Raises:
            CredentialError: there is none, or the metadata can't be used.
            TokenEndpointDown: the server can't be asked.

        """
        configured: str | None = getattr(self._settings, key)
        if configured is not None:
            return configured
        metadata = await self.metadata()
        found = metadata.get(member)
        aliases = metadata.get("mtls_endpoint_aliases")  # RFC 8705, section 5
        if self._settings.client_auth == "tls" and isinstance(aliases, dict):
            found = aliases.get(member, found)
        if not isinstance(found, str):
            raise CredentialError(f"the server's metadata has no {member}; right would be {key}")
        try:
            check_url(f"{member} of the server's metadata", found, insecure=self._settings.insecure)
        except ValueError as problem:
            raise CredentialError(str(problem)) from None
        # A server elsewhere could have us send a request to what trusts this machine, this proxy included.
        if is_inside(found) and not is_inside(self._settings.issuer or ""):
            raise CredentialError(
                f"{member} of the server's metadata is on this machine, and the issuer is not; "
                f"expected {key}, if that is meant"
            )
        return found

    async def metadata(self) -> Metadata:
        """Return what the issuer says of itself; nothing if none is configured.

        Raises:
            CredentialError: it says nothing that can be used.
            TokenEndpointDown: it can't be asked.

        """
        issuer = self._settings.issuer
        if issuer is None:
            return {}
        if not self._metadata or self._clock.monotonic() - self._read_at > MAX_AGE:
            try:
                self._metadata = await self._discovered(issuer)
            except TokenEndpointDown as failure:
                if not self._metadata:
                    failure.sent = False  # a refresh token was not
                    raise
                # The old one will do; the token endpoint itself will say whether it is there.
            self._read_at = self._clock.monotonic()
        return self._metadata

    async def _discovered(self, issuer: str) -> Metadata:
        found = ""
        for url in well_known(issuer):
            endpoint = Endpoint(url, self._client, self._clock, what="the server's metadata")
            reply = await endpoint.get()
            if reply.status == 200 and reply.body is not None:
                return _own(reply.body, issuer)
            if not found or reply.status != 404:
                found = f"status {reply.status}, {reply.unusable}"
        raise CredentialError(f"the issuer has no metadata ({found}); expected token_url")


def well_known(issuer: str) -> Iterator[str]:
    """Where an issuer's metadata may be: RFC 8414, section 3.1, and OpenID Connect Discovery 1.0, section 4."""
    url = httpx.URL(issuer)
    path = url.raw_path.decode().rstrip("/")
    yield str(url.copy_with(raw_path=(_OAUTH + path).encode()))
    yield str(url.copy_with(raw_path=(path + _OPENID).encode()))
    if path:
        yield str(url.copy_with(raw_path=(_OPENID + path).encode()))


def _own(metadata: Metadata, issuer: str) -> Metadata:
    """Return metadata that is the issuer's own: compared as text (RFC 8414, section 3.3)."""
    named = metadata.get("issuer")
    if named != issuer:
        slash = "the slash at its end" if issuer.endswith("/") else "a slash at its end"
        same = isinstance(named, str) and named.rstrip("/") == issuer.rstrip("/")
        right = f"issuer {'without' if issuer.endswith('/') else 'with'} {slash}" if same else "token_url"
        raise CredentialError(f"the server's metadata is another issuer's; right would be {right}")
    return metadata
