"""What a test has for secrets, and what it says: `tests/canary.py` looks for the one in the other.

Nobody has to say what is secret. Whatever passes as one through the types that hold secrets is known from then on
(what a `Source` yields, tokens, keys and what they sign, cookies of sessions, generated admin tokens, what clients
authenticate with, variables of child processes), and so is what begins like one of `MARKS`. At the end of a test, all
that it said is searched for all forms of all of them: output, logs at all levels, lines of our own log, answers of our
own, admin pages, texts of errors, output of commands and child processes.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache, wraps
from typing import Any, cast
from urllib.parse import quote, quote_plus

import pytest
from click.testing import CliRunner, Result

from proxy import app, errors, keys, stores
from proxy import log as lines
from proxy.admin import Admin
from proxy.credentials import _cookies
from proxy.demo import accounts
from proxy.gateway import Answer, problem
from proxy.gateway.guard import Guard
from proxy.secrets import Source

MARKS = ("canary-", "-canary", "c4n4ry", "zanary-", "s3cret", "s3cr3t")
SHORTEST = 8  # characters; less is part of other words
# Say what the tests' own clients and servers do; in a process of ours all below a warning is off (tests/test_log.py).
CLIENTS = ("httpx", "httpcore", "hpack", "authlib")
_STATUS_PAGE = re.compile(r"status page: http\S+/\?token=\S+")  # where a generated token is told to whom it is for
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "k")  # of a JWK (RFC 7518, section 6)


@lru_cache(maxsize=4096)
def forms(secret: str) -> frozenset[str]:
    """Return a secret as it is, and as it could be carried, in lower case; of base64 what is always so."""
    raw = secret.encode("utf-8", "surrogatepass")
    found = {secret, raw.hex(), raw.hex(" "), raw.hex(":"), "".join(f"%{byte:02x}" for byte in raw)}
    found |= {quote(raw, safe=""), quote(raw), quote_plus(raw), quote(raw, safe="!$&'()*+,;=:@/?")}
    found |= {
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(raw)[2:-1],
    }
    for shift in range(3):
        # The first and the last digits have bits of what stands beside it, or of the padding.
        spare = (len(raw) + shift) % 3
        middle = b64encode(b"x" * shift + raw).decode()[(0, 2, 3)[shift] : (None, -3, -2)[spare]]
        found |= {middle, middle.replace("+", "-").replace("/", "_"), quote(middle, safe="")}
    return frozenset(form.lower() for form in found if len(form) >= SHORTEST - 2)


def parts(value: str) -> Iterator[str]:
    """Return what of a secret would be one by itself: lines of a PEM, private members of a JWK, values of cookies."""
    if "PRIVATE KEY" in value:
        yield from (line for line in value.replace("\\n", "\n").splitlines() if "-----" not in line)
        return
    if value.startswith(("{", "[")):
        try:
            table = json.loads(value)
        except (ValueError, RecursionError):
            table = None
        if isinstance(table, dict) and "kty" in table:
            yield from (str(table[name]) for name in _PRIVATE if name in table)
            return
        if isinstance(table, list):
            yield from (str(each["value"]) for each in table if isinstance(each, dict) and "value" in each)
            return
    yield value


class Watch:
    """What one test has for secrets, and what was said meanwhile."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self.said: list[tuple[str, str]] = []

    def know(self, value: str | bytes | None) -> None:
        """Take something for a secret."""
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        if value and len(value) >= SHORTEST:
            self.secrets.update(part for part in parts(value) if len(part) >= SHORTEST)

    def hear(self, where: str, text: str | bytes) -> None:
        """Take something for said, `where`."""
        if text:
            text = text.decode("latin-1") if isinstance(text, bytes) else text
            self.said.append((where, _STATUS_PAGE.sub("", text)))

    def shown(self) -> str | None:
        """Return where a secret shows, and which; None if none does."""
        for where, text in self.said:
            if secret := shown(text, self.secrets):
                return f"{where} shows a secret ({secret[:4]}…)"
        return None


ALWAYS = frozenset(
    (accounts.PASSWORD, accounts.BEARER_TOKEN, accounts.CLIENT_SECRET, accounts.REFRESH_TOKEN, accounts.KEY_SECRET)
)
watch = Watch()


def shown(text: str, secrets: set[str] | frozenset[str] = frozenset()) -> str | None:
    """Return the secret that `text` shows, or None."""
    text = text.lower()
    if mark := next((mark for mark in MARKS if mark in text), None):
        return mark
    return next((secret for secret in ALWAYS | secrets if any(form in text for form in forms(secret))), None)


# -- what is secret, and what is said --------------------------------------------------------------------------


def after(owner: Any, name: str, heed: Callable[..., object]) -> None:
    """Have `heed` called with the result and the arguments of each call of a function."""
    function = cast("Callable[..., Any]", getattr(owner, name))

    def heeded(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        heed(result, *args)
        return result

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        result = await function(*args, **kwargs)
        heed(result, *args)
        return result

    _put(owner, name, function, awaited if inspect.iscoroutinefunction(function) else heeded)


def before(owner: Any, name: str, heed: Callable[..., object]) -> None:
    """Have `heed` called with the arguments of each call of a function."""
    function = cast("Callable[..., Any]", getattr(owner, name))

    def heeded(*args: Any, **kwargs: Any) -> Any:
        heed(*args)
        return function(*args, **kwargs)

    _put(owner, name, function, heeded)


def _put(owner: Any, name: str, function: Callable[..., Any], made: Callable[..., Any]) -> None:
    """Put a function in the place of another one, wherever that was imported to."""
    made = wraps(function)(made)
    setattr(owner, name, staticmethod(made) if inspect.ismethod(function) else made)
    for module in [module for name, module in sys.modules.items() if name.startswith("proxy.")]:
        for key, value in list(vars(module).items()):
            if value is function:
                setattr(module, key, made)


def _token(_: object, token: stores.Token) -> None:
    for value in (token.access_token, token.refresh_token, token.dpop_key):
        watch.know(value)


def _client(_: object, _guard: object, inbound: Any) -> None:
    special = inbound.head.special
    for name in (b"authorization", b"proxy-authorization", b"cookie", b"x-countersign-token"):
        for value in special.get(name, ()):
            rest = value.partition(b" ")[2] or value
            watch.know(rest)
            with suppress(ValueError):  # no user name and password
                watch.know(b64decode(rest, validate=True).partition(b":")[2])


def _answer(answer: Answer, *_: object) -> None:
    watch.hear("an answer's head", b"\n".join(name + b": " + value for name, value in answer.headers))
    watch.hear("an answer's body", answer.body if isinstance(answer.body, bytes) else b"")


def _result(result: Result, *_: object) -> None:
    watch.hear("a command's output", result.output)


def install() -> None:
    """Begin to watch."""
    after(Source, "_checked", lambda value, *_: watch.know(value))
    after(stores.Token, "__post_init__", _token)
    before(keys.SigningKey, "load", lambda text, *_: watch.know(text))
    before(keys.SigningKey, "shared", lambda secret, *_: watch.know(secret))
    after(keys.SigningKey, "private_jwk", lambda value, *_: watch.know(value))
    after(keys.SigningKey, "sign", lambda value, *_: watch.know(value.rpartition(".")[2]))
    after(app.App, "_admin_token_of", lambda value, *_: watch.know(value))
    after(Guard, "admit", _client)
    after(_cookies, "parse", lambda cookie, *_: watch.know(cookie.value if cookie else None))
    before(lines._Stream, "msg", lambda _, line: watch.hear("the log", line))
    after(problem, "problem", _answer)
    after(problem, "proxy_status", lambda field, *_: watch.hear("Proxy-Status", field[1]))
    after(Admin, "__call__", _answer)
    after(CliRunner, "invoke", _result)
    after(pytest.CaptureFixture, "readouterr", lambda found, *_: watch.hear("the output", "".join(map(str, found))))

    def noted(self: Exception, *args: object) -> None:
        Exception.__init__(self, *args)
        watch.hear(f"a {type(self).__name__}", " ".join(str(each) for each in args))

    errors.CountersignError.__init__ = noted  # type: ignore[method-assign,assignment]
