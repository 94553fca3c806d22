"""One request to a token endpoint, and what its answer means (RFC 6749, section 5).

Nothing of an answer's body is repeated anywhere but the token itself, and no redirect is followed: both
could carry a secret to where it does not belong.
"""

from __future__ import annotations

import asyncio
import json
import math
from base64 import b64encode
from collections.abc import Sequence
from urllib.parse import quote_plus, urlencode

import httpx

from proxy.clock import Clock
from proxy.errors import CredentialError, TokenEndpointDown, UpstreamError
from proxy.stores import Token
from proxy.waiting import told_wait

TIMEOUT = 10.0  # seconds for the whole request
LARGEST = 1 << 20  # bytes of an answer
LONGEST_LIFE = 10 * 365 * 86400.0

# RFC 6749 5.2, RFC 8628 3.5, RFC 8707 2, RFC 9449 5: codes that may be shown; others could be anything.
_CODES = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope", "access_denied", "invalid_target", "authorization_pending", "slow_down",
        "expired_token", "invalid_dpop_proof", "use_dpop_nonce",
    }
)  # fmt: skip
# RFC 6749 4.1.2.1 has them for redirects; servers send them from here, too.
_DOWN = ("temporarily_unavailable", "server_error")


class Refused(CredentialError):
    """The authorization server said no; `code` is its error code."""

    def __init__(self, code: str) -> None:
        hint = "; login needed" if code == "invalid_grant" else ""
        super().__init__(f"the token endpoint refused: {code}{hint}")
        self.code = code


class TokenEndpoint:
    """A token endpoint and how this client authenticates there.

    Args:
        client: raises `UpstreamError`.
        timeout: seconds for a whole request.

    """

    def __init__(self, url: str, client: httpx.AsyncBaseTransport, clock: Clock, *, timeout: float = TIMEOUT) -> None:
        self._url = httpx.URL(url)
        self._client = client
        self._clock = clock
        self._timeout = timeout

    async def request(self, form: Sequence[tuple[str, str]], headers: dict[str, str]) -> Token:
        """Ask for a token.

        Raises:
            Refused: the server said no.
            CredentialError: the answer is none that can be used.
            TokenEndpointDown: it can't be reached, is too slow, or says 5xx or 429.

        """
        request = httpx.Request(
            "POST",
            self._url,
            content=urlencode(form).encode(),
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                **headers,
            },
        )
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.handle_async_request(request)
                try:
                    self._check_status(response)
                    return self._token(response.status_code, await _read(response))
                finally:
                    await response.aclose()
        except TimeoutError:
            problem = f"the token endpoint took longer than {self._timeout:g} s"
        except UpstreamError as failure:
            problem = f"the token endpoint: {failure.detail}"
        # Raised outside: what failed has the request on it, and would be the context.
        raise TokenEndpointDown(problem, retry_after=1)

    def _check_status(self, response: httpx.Response) -> None:
        """What can be told without the body, which may be huge or never come."""
        status = response.status_code
        if status >= 500 or status in (408, 429):
            wait = told_wait(response.headers.raw, self._clock.time())
            raise TokenEndpointDown(f"the token endpoint answered {status}", retry_after=wait or 1)
        if 300 <= status < 400:
            raise CredentialError("the token endpoint redirects, which is not followed; token_url must be exact")

    def _token(self, status: int, body: bytes) -> Token:
        answer = _object(body)
        code = None if answer is None else answer.get("error")
        if code in _DOWN:
            raise TokenEndpointDown(f"the token endpoint answered {code}", retry_after=1)
        if code:
            raise Refused(code if isinstance(code, str) and code in _CODES else "an error of its own kind")
        if status in (400, 401, 403):
            raise Refused("invalid_client" if status == 401 else f"status {status}")
        if not 200 <= status < 300 or answer is None:
            raise CredentialError(f"the token endpoint answered {status} with something that is no token")
        return self._parse(answer)

    def _parse(self, answer: dict[str, object]) -> Token:
        access_token = _text(answer, "access_token")
        if access_token is None:
            raise CredentialError("the token endpoint's answer has no usable access_token")
        kind = answer.get("token_type", "Bearer")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise CredentialError("the token endpoint's answer has a token_type that is not Bearer")
        now = self._clock.time()
        life = lifetime(answer.get("expires_in"))
        return Token(
            access_token=access_token,
            expires_at=None if life is None else now + life,
            refresh_token=_form_text(answer, "refresh_token"),
            scope=_text(answer, "scope"),
            obtained_at=now,
        )


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    async for piece in stream:
        body += piece
        if len(body) > LARGEST:
            raise CredentialError("the token endpoint's answer is too large")
    return bytes(body)


def _object(body: bytes) -> dict[str, object] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _text(answer: dict[str, object], key: str) -> str | None:
    """Return a field that can stand in a header: printable ASCII without spaces at the ends."""
    value = answer.get(key)
    if isinstance(value, str) and value and value.isascii() and value.isprintable() and value == value.strip():
        return value
    return None


def _form_text(answer: dict[str, object], key: str) -> str | None:
    """Return a field that only has to stand in a form; dropping one would mean that an old one is sent again."""
    value = answer.get(key)
    if isinstance(value, str) and value and not any("\ud800" <= character <= "\udfff" for character in value):
        return value
    return None


def lifetime(value: object) -> float | None:
    """Seconds that ``expires_in`` says, or None if it is missing or says nothing sensible.

    Servers send numbers as strings, and zero, negative or absurd ones; such a token serves until the API
    refuses it.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(seconds) or seconds <= 0:
        return None
    return min(seconds, LONGEST_LIFE)


def client_authentication(method: str, client_id: str, secret: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the form fields and header fields by which a client says who it is (RFC 6749, section 2.3.1).

    Args:
        method: ``basic``, ``post`` or ``none``.
        client_id: who it is.
        secret: empty for public clients.

    """
    if method == "basic":
        # Both are form-encoded before they are joined, which most clients forget and strict servers want.
        joined = f"{quote_plus(client_id)}:{quote_plus(secret)}"
        return {}, {"Authorization": "Basic " + b64encode(joined.encode()).decode()}
    form = {"client_id": client_id}
    if method == "post":
        form["client_secret"] = secret
    return form, {}
