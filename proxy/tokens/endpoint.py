"""One request to an authorization server, and what its answer means (RFC 6749, section 5).

Nothing of an answer's body is repeated anywhere but the token itself, and no redirect is followed: both
could carry a secret to where it does not belong.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx

from proxy import USER_AGENT
from proxy.clock import Clock
from proxy.errors import CredentialError, TlsCertificateError, TokenEndpointDown, UpstreamError, WrongProtocol
from proxy.stores import Token
from proxy.waiting import told_wait

CONNECT = 5.0  # seconds
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

    def __init__(self, code: str, what: str = "the token endpoint") -> None:
        hint = "; login needed" if code == "invalid_grant" else ""
        super().__init__(f"{what} refused: {code}{hint}")
        self.code = code


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """An answer that came whole.

    Attributes:
        body: its JSON object, or None if it is none.

    """

    status: int
    headers: httpx.Headers
    body: dict[str, object] | None


class Endpoint:
    """An authorization server's endpoint, and what its answers mean.

    Args:
        client: raises `UpstreamError`.
        timeout: seconds for a whole request.
        what: what it is, for people.
        may_redirect: whether an answer that does so is as good as others; it is not followed, either way.

    """

    def __init__(
        self,
        url: str,
        client: httpx.AsyncBaseTransport,
        clock: Clock,
        *,
        timeout: float = TIMEOUT,
        what: str = "the token endpoint",
        may_redirect: bool = False,
    ) -> None:
        self._may_redirect = may_redirect
        self._url = httpx.URL(url)
        self._client = client
        self._clock = clock
        self._timeout = timeout
        self._what = what

    async def get(self) -> Reply:
        """Ask for a document; otherwise as `send`."""
        return await self.send("GET", None, {})

    async def post(self, form: Sequence[tuple[str, str]], headers: dict[str, str]) -> Reply:
        """Send a form; otherwise as `send`."""
        fields = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return await self.send("POST", urlencode(form).encode(), fields)

    async def send(self, method: str, content: bytes | None, headers: Mapping[str, str]) -> Reply:
        """Send a request and read its answer.

        Raises:
            CredentialError: the answer redirects or is too large.
            TokenEndpointDown: it can't be reached, is too slow, or says 5xx or 429.

        """
        fields = httpx.Headers({"Accept": "application/json", "User-Agent": USER_AGENT})
        fields.update(headers)
        fields["Accept-Encoding"] = "identity"  # nothing is decoded here, whatever a browser's fields say
        request = httpx.Request(method, self._url, content=content, headers=fields)
        repeatable = True
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.handle_async_request(request)
                try:
                    self._check_status(response)
                    body = await self._read(response)
                    return Reply(response.status_code, response.headers, _object(body))
                finally:
                    await response.aclose()
        except TimeoutError:
            problem, sent = f"{self._what} took longer than {self._timeout:g} s", True
        except UpstreamError as failure:
            problem, sent = f"{self._what}: {failure.detail}", failure.sent
            repeatable = not isinstance(failure, TlsCertificateError | WrongProtocol)
        # Raised outside: what failed has the request on it, and would be the context.
        raise TokenEndpointDown(problem, sent=sent, repeatable=repeatable)

    def _check_status(self, response: httpx.Response) -> None:
        """What can be told without the body, which may be huge or never come."""
        status = response.status_code
        if status >= 500 or status in (408, 429):
            wait = told_wait(response.headers.raw, self._clock.time())
            if status == 429:
                wait = max(wait or 0.0, 1.0)  # not again at once, whatever it says
            raise TokenEndpointDown(f"{self._what} answered {status}", retry_after=wait, sent=True)
        if 300 <= status < 400 and not self._may_redirect:
            raise CredentialError(f"{self._what} redirects, which is not followed; its URL must be exact")

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        async for piece in stream:
            body += piece
            if len(body) > LARGEST:
                raise CredentialError(f"{self._what}'s answer is too large")
        return bytes(body)

    def granted(self, reply: Reply) -> dict[str, object]:
        """Return what an answer to a form holds (RFC 6749, section 5).

        Raises:
            Refused: the server said no.
            CredentialError: the answer is none that can be used.
            TokenEndpointDown: it says that it is down.

        """
        status, answer = reply.status, reply.body
        code = None if answer is None else answer.get("error")
        if code in _DOWN:
            raise TokenEndpointDown(f"{self._what} answered {code}", sent=True)
        if code:
            known = isinstance(code, str) and code in _CODES
            raise Refused(str(code) if known else "an error of its own kind", self._what)
        if status in (400, 401, 403):
            raise Refused("invalid_client" if status == 401 else f"status {status}", self._what)
        if not 200 <= status < 300 or answer is None:
            raise CredentialError(f"{self._what} answered {status} with something that is no answer to it")
        return answer


class TokenEndpoint(Endpoint):
    """A token endpoint."""

    async def request(
        self, form: Sequence[tuple[str, str]], headers: dict[str, str], kinds: Collection[str] = ("bearer",)
    ) -> Token:
        """Ask for a token.

        Args:
            form: the fields of the request.
            headers: such as say which client asks.
            kinds: what ``token_type`` may be, in lower case.

        Raises:
            Refused: the server said no.
            CredentialError: the answer is none that can be used.
            TokenEndpointDown: it can't be reached, is too slow, or says 5xx or 429.

        """
        return self.token(await self.post(form, headers), kinds)

    def token(self, reply: Reply, kinds: Collection[str] = ("bearer",)) -> Token:
        """Return the token that an answer holds; otherwise as `request`."""
        answer = self.granted(reply)
        access_token = text(answer, "access_token")
        if access_token is None:
            raise CredentialError("the token endpoint's answer has no usable access_token")
        kind = answer.get("token_type", "Bearer")
        if not isinstance(kind, str) or kind.lower() not in kinds:
            wanted = "DPoP" if "dpop" in kinds else "Bearer"
            raise CredentialError(f"the token endpoint's answer has a token_type that is not {wanted}")
        now = self._clock.time()
        life = lifetime(answer.get("expires_in"))
        return Token(
            access_token=access_token,
            expires_at=None if life is None else now + life,
            refresh_token=_form_text(answer, "refresh_token"),
            scope=text(answer, "scope"),
            obtained_at=now,
        )


def _object(body: bytes) -> dict[str, object] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def text(answer: dict[str, object], key: str) -> str | None:
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
    seconds = positive(value)
    return None if seconds is None else min(seconds, LONGEST_LIFE)


def positive(value: object) -> float | None:
    """Return the number above zero that JSON holds, be it in a text, or None if it is no such number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
