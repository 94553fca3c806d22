"""One request to an authorization server, and what its answer means (RFC 6749, section 5).

Of a response only the token and the error that it reports are used; that error is masked before it is shown. No
redirect is followed: it could carry a secret to where it does not belong.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx

from proxy import USER_AGENT
from proxy.clock import Clock
from proxy.errors import (
    CredentialError,
    LoopDetected,
    TlsCertificateError,
    TokenEndpointDown,
    UntrustedUpstream,
    UpstreamError,
    WrongProtocol,
)
from proxy.stores import Token
from proxy.tokens._body import described, has_fields, parsed, unpacked
from proxy.tokens._errortext import error_of, shown
from proxy.tokens._secrets import Secrets, received, sent
from proxy.waiting import told_wait

CONNECT = 5.0  # seconds
TIMEOUT = 10.0  # seconds for the whole request
LARGEST = 1 << 20  # bytes of an answer
BRIEF, BRIEFLY = 1 << 16, 1.0  # bytes and seconds for the body of an outage
LONGEST_LIFE = 10 * 365 * 86400.0

# RFC 6749 5.2, RFC 8628 3.5, RFC 8707 2, RFC 9449 5: codes that decisions are based on.
_CODES = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope", "access_denied", "invalid_target", "authorization_pending", "slow_down",
        "expired_token", "invalid_dpop_proof", "use_dpop_nonce",
    }
)  # fmt: skip
# RFC 6749 4.1.2.1 has them for redirects; servers send them from here, too.
_DOWN = ("temporarily_unavailable", "server_error")
# Apigee says BearerToken; Slack names whose token it is, which is a bearer token all the same.
_BEARER = frozenset({"", "bearer", "bearertoken", "bearer_token", "bearer token", "null", "bot", "user"})


class Refused(CredentialError):
    """The authorization server refused the request.

    Args:
        code: its error code.
        what: which endpoint, for people.
        said: code and description as they may be shown; the code alone by default.

    """

    def __init__(self, code: str, what: str = "the token endpoint", said: str = "") -> None:
        self.problem = f"{what} refused: {said or code}"
        super().__init__(f"{self.problem}; login needed" if code == "invalid_grant" else self.problem)
        self.code = code
        self._of = code, what, said

    def again(self) -> Refused:
        """Return an equal one to be raised later: one that is raised again keeps what its traceback holds."""
        return Refused(*self._of)


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """A complete response.

    Attributes:
        body: its fields, or None if it is neither JSON nor a form.
        said: the error that it reports, as it may be shown; empty if it reports none.
        about: content type and size of its body.

    """

    status: int
    headers: httpx.Headers
    body: dict[str, object] | None
    said: str = ""
    about: str = "no body"

    @property
    def error(self) -> str:
        """The error code, not to be shown; empty if no error is reported."""
        return "" if self.body is None else error_of(self.body)[0]

    @property
    def unusable(self) -> str:
        """What to show of a body that can't be used."""
        return f"{self.about}: {self.said}" if self.said else self.about


class Endpoint:
    """An authorization server's endpoint, and what its answers mean.

    Args:
        client: raises `UpstreamError`.
        timeout: seconds for a whole request.
        what: what it is, for people.
        may_redirect: whether an answer that does so is as good as others; it is not followed, either way.
        secrets: returns what is masked in texts of the server, beside the secrets of the request.

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
        secrets: Secrets | None = None,
    ) -> None:
        self._may_redirect = may_redirect
        self._url = httpx.URL(url)
        self._client = client
        self._clock = clock
        self._timeout = timeout
        self._what = what
        self._secrets = secrets

    async def get(self) -> Reply:
        """Ask for a document; otherwise as `send`."""
        return await self.send("GET", None, {})

    async def post(self, form: Sequence[tuple[str, str]], headers: dict[str, str]) -> Reply:
        """Send a form; otherwise as `send`."""
        fields = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return await self.send("POST", urlencode(form).encode(), fields, form)

    async def send(
        self, method: str, content: bytes | None, headers: Mapping[str, str], form: Sequence[tuple[str, str]] = ()
    ) -> Reply:
        """Send a request and read its answer.

        Args:
            method, content, headers: of the request.
            form: the fields in `content`; the secrets among them are masked in texts of the server.

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
                    body = await self._body(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            problem, was_sent = f"{self._what} took longer than {self._timeout:g} s", True
        except LoopDetected:
            raise CredentialError(f"{self._what} is this proxy itself") from None
        except UpstreamError as failure:
            problem, was_sent = f"{self._what}: {failure.detail}", failure.sent
            repeatable = not isinstance(failure, TlsCertificateError | UntrustedUpstream | WrongProtocol)
        else:
            return await self._reply(response, body, [*sent([*self._url.params.multi_items(), *form], headers)])
        # Raised outside: what failed has the request on it, and would be the context.
        raise TokenEndpointDown(problem, sent=was_sent, repeatable=repeatable)

    async def _body(self, response: httpx.Response) -> bytes:
        """Read the body; that of an outage, which may be huge or never end, only if it is short and at once there."""
        if not _is_outage(response.status_code):
            self._check_redirect(response)
            return await self._read(response, LARGEST)
        with suppress(TimeoutError, UpstreamError, CredentialError):
            async with asyncio.timeout(BRIEFLY):
                return await self._read(response, BRIEF) if has_fields(response.headers) else b""
        return b""

    def _check_redirect(self, response: httpx.Response) -> None:
        if 300 <= response.status_code < 400 and not self._may_redirect:
            raise CredentialError(f"{self._what} redirects, which is not followed; its URL must be exact")

    async def _read(self, response: httpx.Response, largest: int) -> bytes:
        body = bytearray()
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        async for piece in stream:
            body += piece
            if len(body) > largest:
                raise CredentialError(f"{self._what}'s answer is too large")
        return bytes(body)

    async def _reply(self, response: httpx.Response, body: bytes, secrets: list[str]) -> Reply:
        """Return what a response holds.

        Raises:
            TokenEndpointDown: its status is 5xx, 408 or 429.

        """
        status, headers, table = response.status_code, response.headers, None
        with suppress(ValueError):
            table = parsed(unpacked(body, headers, LARGEST), headers)
        said = "" if table is None else await self._said(status, table, secrets)
        if _is_outage(status):
            wait = told_wait(headers.raw, self._clock.time())
            if status == 429:
                wait = max(wait or 0.0, 1.0)  # not again at once, whatever it says
            problem = f"{self._what} answered {status}{f' ({said})' * bool(said)}"
            raise TokenEndpointDown(problem, retry_after=wait, sent=True)
        return Reply(status, headers, table, said, shown(described(headers, len(body)), secrets))

    async def _said(self, status: int, table: dict[str, object], secrets: list[str]) -> str:
        """Return the error that a response reports, as it may be shown."""
        code, description = error_of(table)
        if not code and (status < 400 and "access_token" in table):
            return ""
        known = secrets + received(table)
        if self._secrets is not None:
            known += await self._secrets()
        if code and description:
            return shown(f"{code} ({description})", known).removesuffix(" (***)")
        return shown(code or description, known)

    def granted(self, reply: Reply) -> dict[str, object]:
        """Return what an answer to a form holds (RFC 6749, section 5).

        Raises:
            Refused: the server said no.
            CredentialError: the answer is none that can be used.
            TokenEndpointDown: it says that it is down.

        """
        status, code = reply.status, reply.error
        if code in _DOWN:
            raise TokenEndpointDown(f"{self._what} answered {reply.said or code}", sent=True)
        if code:
            raise Refused(code if code in _CODES else "", self._what, reply.said or "an error of its own kind")
        if status == 401:
            said = f"invalid_client ({reply.said})" if reply.said else f"invalid_client (status 401, {reply.about})"
            raise Refused("invalid_client", self._what, said)
        if status in (400, 403):
            raise Refused(f"status {status}", self._what, f"status {status} ({reply.said or reply.about})")
        if not 200 <= status < 300 or reply.body is None:
            raise CredentialError(
                f"{self._what} answered {status} with a body that can't be used ({reply.unusable}); expected JSON"
            )
        return reply.body


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
            raise CredentialError(f"{self._what}'s answer has no usable access_token ({reply.unusable})")
        if _kind(answer.get("token_type")) not in kinds:
            wanted = "DPoP" if "dpop" in kinds else "Bearer"
            raise CredentialError(f"{self._what}'s answer has a token_type that is not {wanted}")
        now = self._clock.time()
        life = lifetime(answer.get("expires_in"))
        return Token(
            access_token=access_token,
            expires_at=None if life is None else now + life,
            refresh_token=_form_text(answer, "refresh_token"),
            scope=text(answer, "scope"),
            obtained_at=now,
        )


def _is_outage(status: int) -> bool:
    return status >= 500 or status in (408, 429)


def _kind(value: object) -> str:
    """Return a ``token_type`` in lower case; "bearer" for what servers send in its place."""
    if value is None:
        return "bearer"
    kind = value.strip().lower() if isinstance(value, str) else "?"
    return "bearer" if kind in _BEARER else kind


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
