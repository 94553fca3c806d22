"""HTTP Digest (RFC 7616)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal

import httpx

from proxy.clock import Clock
from proxy.credentials import AUTHORIZATION, Context, Credential, Scheme
from proxy.credentials._challenges import challenges, parse
from proxy.credentials._cookies import parse as parse_cookie
from proxy.credentials._cookies import with_cookies
from proxy.credentials._digest_answer import SUPPORTED, Account, DigestChallenge, chosen
from proxy.credentials._fields import field_value, set_field
from proxy.errors import CredentialError
from proxy.secrets import Secret
from proxy.transport.messages import raw_request

# Of a request that only asks for the challenge: it has no body, and is to have no effect.
_NOT_ASKING = frozenset({b"content-length", b"transfer-encoding", b"idempotency-key"})


class Digest(Credential):
    """``type = "digest"``."""

    type: Literal["digest"]
    username: Secret
    password: Secret

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        return DigestScheme(self, context.clock)


class DigestScheme(Scheme):
    """Answers the challenge of a 401, and later requests with the challenge that it knows.

    A challenge that can't be answered, or whose answer was refused, is forgotten: otherwise each request would
    begin with it, and a wrong password be tried twice for each.
    """

    fields = AUTHORIZATION

    def __init__(self, settings: Digest, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._known: tuple[Account, DigestChallenge] | None = None

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        account = await self._account()
        known = self._known[1] if self._known is not None and self._known[0] == account else None
        fresh = False  # whether the challenge is the response to a request of this flow
        stale = 0
        if _asks_first(request, known):
            response = yield _asking(request)
            known = self._challenged(account, response) if response.status_code == 401 else None
            fresh = known is not None
            self._take_cookies(request, response)
        while True:
            if known is not None:
                await _answer(request, account, known)
            response = yield request
            if response.status_code != 401:
                self._take_next_nonce(account, known, response)
                return
            following = self._challenged(account, response)
            if fresh and following is not None and not (following.stale and stale < 1):
                following = self._known = None  # the password is wrong
            if following is None:
                return
            stale += fresh
            self._take_cookies(request, response)
            known, fresh = following, True

    def _challenged(self, account: Account, response: httpx.Response) -> DigestChallenge | None:
        """Return the challenge of a 401 that is to be answered, and remember it.

        Raises:
            CredentialError: there is a Digest challenge, but none that is supported.

        """
        self._known = None
        offered = [each for each in challenges(response.headers.raw) if each.scheme == "digest"]
        found = chosen(offered)
        if found is not None:
            self._known = account, found
        elif offered:
            raise CredentialError(f"no Digest challenge of the API is supported; expected {SUPPORTED}")
        return found

    def _take_next_nonce(self, account: Account, known: DigestChallenge | None, response: httpx.Response) -> None:
        """Use the nonce that the server wants for the next request (RFC 7616, section 3.5)."""
        if known is None:
            return
        for value in _values(response, b"authentication-info"):
            for challenge in parse(f"Digest {value}"):
                if nonce := challenge.parameters.get("nextnonce"):
                    self._known = account, known.renewed(nonce)

    def _take_cookies(self, request: httpx.Request, response: httpx.Response) -> None:
        """Send the cookies of a 401 with the answer: some servers know the challenge by them."""
        path = request.extensions["target"].partition(b"?")[0].decode("latin-1")
        now = self._clock.time()
        cookies = [parse_cookie(value, request.url, now) for value in _values(response, b"set-cookie")]
        ours = [(each.name, each.value) for each in cookies if each is not None and each.goes_with(request.url, path)]
        if ours:
            set_field(request, "Cookie", with_cookies(field_value(request, "Cookie", b";"), ours))

    async def _account(self) -> Account:
        return Account(await self._settings.username.get(), await self._settings.password.get())

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self._account()

    async def explain(self, request: httpx.Request) -> dict[str, str]:  # noqa: ARG002
        """As `Scheme.explain`."""
        await self._account()
        return {"note": "Authorization answers the challenge of a 401"}


def _values(response: httpx.Response, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in response.headers.raw if name.lower() == wanted]


def _asks_first(request: httpx.Request, known: DigestChallenge | None) -> bool:
    """Whether the challenge has to be had before the body is sent, since the body can be sent only once.

    A body that is too large to be kept never goes with a known challenge: its nonce may be too old by now. One of
    unknown length may be too large.
    """
    keepable: bool | None = getattr(request.stream, "keepable", True)
    return keepable is False or (keepable is None and known is None)


def _asking(request: httpx.Request) -> httpx.Request:
    """Return the request without its body, and without a credential: it is to be refused."""
    fields = [field for field in request.headers.raw if field[0].lower() not in _NOT_ASKING]
    fields.append((b"Content-Length", b"0"))
    extensions = {"target": request.extensions["target"]}
    return raw_request(request.method, request.url, fields, httpx.ByteStream(b""), extensions)


async def _answer(request: httpx.Request, account: Account, challenge: DigestChallenge) -> None:
    body = b""
    if challenge.covers_body:
        stream = request.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        body = b"".join([piece async for piece in stream])
    target = request.extensions["target"]
    set_field(request, "Authorization", challenge.authorization(account, request.method, target, body))
