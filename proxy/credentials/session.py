"""A session with a site: logged in as its form or its page would, by cookies or by a token of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Literal
from urllib.parse import urlencode

import httpx
from pydantic import Field, JsonValue, PrivateAttr, model_validator

from proxy.credentials import MASK, Context, Scheme, SecretKey
from proxy.credentials._cookies import Cookie, kept, parse, with_cookies
from proxy.credentials._fields import check_field_name, field_value, set_field
from proxy.credentials._renewing import Renewable, TokenScheme
from proxy.credentials._tokens import from_table
from proxy.errors import CredentialError, SecretError
from proxy.secrets import Secret, SecretNumber, Source, is_secret_table, parse_secret
from proxy.stores import Token
from proxy.tokens.endpoint import Endpoint, Refused, Reply
from proxy.tokens.settings import URL_PATTERN, check_url
from proxy.transport.messages import RawHeaders
from proxy.transport.proxies import ProxySettings
from proxy.values import Model

_REFUSALS = (400, 401, 403, 422)
_PASSWORD = re.compile(r"pass|pwd|secret|credential|auth|\bpin\b|token|key", re.IGNORECASE)  # names of fields

Path = tuple[str, ...]


class Login(Model):
    """``login``: the request that a site's form or page sends. Texts in it may be secrets."""

    method: str = Field(default="POST", pattern=r"^[A-Z]{1,20}$")
    url: str = Field(pattern=URL_PATTERN)
    form: dict[str, SecretNumber] = Field(default={})
    content: dict[str, JsonValue] | None = Field(default=None, alias="json")
    headers: dict[str, Secret] = Field(default={})
    _sources: dict[Path, Source] = PrivateAttr(default={})

    @model_validator(mode="after")
    def _sensible(self) -> Login:
        if self.form and self.content is not None:
            raise ValueError("has form and json; right would be one of them")
        if (self.form or self.content is not None) and self.method in ("GET", "HEAD"):
            raise ValueError(f"{self.method} has no form and no json; right would be POST")
        for name in self.headers:
            check_field_name(name)
        self._sources = dict(_sources(self.content, ("json",)))
        return self

    def secrets(self) -> Iterator[tuple[Path, Source]]:
        """Keys and source of every secret: what stands here itself is none, unless it is named as if it was one."""
        return ((path, source) for path, source in self.texts() if source.kind != "literal" or _names_secret(path))

    def texts(self) -> Iterator[tuple[Path, Source]]:
        """Keys and source of every text, without those that are meant to be empty."""
        for part in ("form", "headers"):
            yield from (((part, name), source) for name, source in getattr(self, part).items() if not source.is_blank)
        yield from ((path, source) for path, source in self._sources.items() if not source.is_blank)

    async def body(self) -> tuple[bytes | None, dict[str, str]]:
        """Return what is sent, and its ``Content-Type``.

        Raises:
            SecretError: a secret can't be had.

        """
        if self.content is not None:
            content = json.dumps(await self._filled(self.content, ("json",)))
            return content.encode(), {"Content-Type": "application/json"}
        if not self.form:
            return None, {}
        form = [(name, await _text(source)) for name, source in self.form.items()]
        return urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}

    async def _filled(self, value: Any, path: Path) -> Any:  # Any: JSON
        if path in self._sources:
            return await _text(self._sources[path])
        if isinstance(value, dict):
            return {name: await self._filled(each, (*path, name)) for name, each in value.items()}
        if isinstance(value, list):
            return [await self._filled(each, (*path, str(at))) for at, each in enumerate(value)]
        return value

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        return [("method", self.method), ("url", self.url)]


def _names_secret(path: Path) -> bool:
    return bool(_PASSWORD.search(" ".join(path[1:])))


def _sources(value: object, path: Path) -> Iterator[tuple[Path, Source]]:
    """Texts and secret tables in what is JSON otherwise."""
    if isinstance(value, str) or is_secret_table(value):
        try:
            yield path, parse_secret(value)
        except ValueError as failure:
            raise ValueError(f"{'.'.join(path)} {failure}") from None
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _sources(each, (*path, name))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from _sources(each, (*path, str(at)))


async def _text(source: Source) -> str:
    return "" if source.is_blank else await source.get()


class Session(ProxySettings, Renewable):
    """``type = "session"``; ``token`` picks a bearer token from the login's answer, in place of its cookies."""

    type: Literal["session"]
    login: Login
    token: str | None = Field(default=None, pattern=r"^[^.]+(\.[^.]+)*$")
    insecure: bool = False

    @model_validator(mode="after")
    def _safe(self) -> Session:
        check_url("login.url", self.login.url, insecure=self.insecure)
        return self

    def secrets(self) -> Iterator[tuple[SecretKey, Source]]:
        """As `Credential.secrets`."""
        return ((("login", *path), source) for path, source in self.login.secrets())

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        return TokenSession(self, context) if self.token else CookieSession(self, context)


class _LoginScheme(TokenScheme):
    def __init__(self, settings: Session, context: Context) -> None:
        super().__init__(settings, context)
        self._session = settings
        self._url = httpx.URL(settings.login.url)
        self._endpoint = Endpoint(
            settings.login.url,
            context.tokens.client,
            context.clock,
            what="the login",
            may_redirect=True,
            secrets=self.secret_values,
        )

    async def facts(self) -> list[object]:
        """As `TokenScheme.facts`. A password, which may be a short one, leaves no trace in a name."""
        login = self._session.login
        told = [[*path, await source.get()] for path, source in login.texts() if not _names_secret(path)]
        return [login.method, login.url, told, self._session.token]

    async def log_in(self) -> Reply:
        """Send the login.

        Raises:
            Refused: the site said no.
            CredentialError, TokenEndpointDown: as `Endpoint.send`.
            SecretError: a secret can't be had.

        """
        login = self._session.login
        content, headers = await login.body()
        for name, source in login.headers.items():
            value = await _text(source)
            if not value.isascii():
                raise SecretError(f"{source.where} holds what can't be in a header field")
            headers[name] = value
        reply = await self._endpoint.send(login.method, content, headers)
        status = f"status {reply.status}"
        said = f" ({reply.said})" if reply.said else ""
        if reply.status in _REFUSALS:
            raise Refused(status, "the login", status + said)
        if reply.status >= 400:
            raise CredentialError(f"the login answered {reply.status}{said}")
        if await self._leads_back(reply):
            raise Refused("it redirects as if there was no session", "the login")
        return reply

    async def _leads_back(self, reply: Reply) -> bool:
        unauthorized = self._session.unauthorized
        if unauthorized.redirect is None:
            return False
        request = httpx.Request("GET", self._url, extensions={"target": self._url.raw_path})
        return await unauthorized.matches(httpx.Response(reply.status, headers=reply.headers, request=request))

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`: does not log in."""
        await super().explain(request)
        return {"session": f"by {self._session.login.method} {self._session.login.url.partition('?')[0]}, or the store"}


class TokenSession(_LoginScheme):
    """Sends the token that the login's answer holds."""

    async def fetch(self) -> Token:
        """As `TokenScheme.fetch`; of its expiry is known what stands beside it."""
        reply = await self.log_in()
        assert self._session.token is not None
        *path, last = self._session.token.split(".")
        table: object = reply.body
        for name in path:
            table = table.get(name) if isinstance(table, Mapping) else None
        if not isinstance(table, Mapping) or last not in table:
            raise CredentialError(f"the login's answer has no JSON field {self._session.token} ({reply.unusable})")
        return from_table({**table, "token": table[last]}, self._clock.time(), f"the login's answer ({reply.unusable})")


class CookieSession(_LoginScheme):
    """Sends the cookies that the login set, and those that the API has replaced them by.

    A client never gets to see them: what the API sends under their names is kept here.
    """

    fields = frozenset()

    def __init__(self, settings: Session, context: Context) -> None:
        super().__init__(settings, context)
        self._now: tuple[Token, tuple[Cookie, ...]] | None = None  # of which token, and what they are now

    async def fetch(self) -> Token:
        """As `TokenScheme.fetch`: the token is all cookies."""
        reply = await self.log_in()
        now = self._clock.time()
        told = [parse(value, self._url, now) for value in reply.headers.get_list("set-cookie")]
        cookies = kept((), (cookie for cookie in told if cookie is not None), now)
        if not cookies:
            raise CredentialError("the login set no cookie; was it one? Right would be token, if it answers with one")
        expiries = [cookie.expires_at for cookie in cookies if cookie.expires_at is not None]
        # The last one: others may be of less importance. The API will say if it was not.
        expires_at = max(expiries) if len(expiries) == len(cookies) else None
        return Token(json.dumps([asdict(cookie) for cookie in cookies]), expires_at, obtained_at=now)

    def put(self, request: httpx.Request, token: Token) -> None:
        """As `TokenScheme.put`.

        Raises:
            CredentialError: none of the cookies is for the API.

        """
        if self._now is None or self._now[0] is not token:
            self._now = token, _unpacked(token)
        cookies = self._now[1]
        if cookies and not any(cookie.is_for(request.url.host) for cookie in cookies):
            raise CredentialError(f"the login's cookies are not for {request.url.host}")
        path = request.extensions["target"].partition(b"?")[0].decode("latin-1")
        now = self._clock.time()
        ours = [
            (each.name, each.value) for each in cookies if each.goes_with(request.url, path) and not each.is_over(now)
        ]
        request.extensions["session"] = token
        # The client's own, also when the request is repeated.
        theirs = request.extensions.setdefault("cookies", field_value(request, "Cookie", b";"))
        if ours or theirs:
            set_field(request, "Cookie", with_cookies(theirs, ours))

    def heed(self, request: httpx.Request, response: httpx.Response) -> bool:
        """As `TokenScheme.heed`: take over new values of the session's cookies, and keep them from the client."""
        if not any(name.lower() == b"set-cookie" for name, _ in response.headers.raw):
            return False
        token: Token = request.extensions["session"]
        names = {cookie.name for cookie in _unpacked(token)}
        told = [_set_cookie(field, names) for field in response.headers.raw]
        if self._now is not None and self._now[0] is token:  # not a late answer, of an earlier session
            now = self._clock.time()
            changed = [parse(text, request.url, now) for text in told if text]
            self._now = token, kept(self._now[1], (cookie for cookie in changed if cookie is not None), now)
        left = [field for field, text in zip(response.headers.raw, told, strict=True) if not text]
        response.headers = RawHeaders(left)
        return False

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`."""
        told = await super().explain(request)
        del request.headers["Authorization"]
        set_field(request, "Cookie", with_cookies(field_value(request, "Cookie", b";"), [("session", MASK)]))
        return told


def _unpacked(token: Token) -> tuple[Cookie, ...]:
    return tuple(Cookie(**table) for table in json.loads(token.access_token))


def _set_cookie(field: tuple[bytes, bytes], names: Collection[str]) -> str:
    """Return the value of a ``Set-Cookie`` of one of these names; empty if it is something else."""
    text = field[1].decode("latin-1") if field[0].lower() == b"set-cookie" else ""
    return text if text.partition("=")[0].strip() in names else ""
