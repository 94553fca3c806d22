"""The secrets that an authorization server may repeat in a response: they are masked before a text of it is shown."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from urllib.parse import unquote_plus

from proxy.errors import CountersignError
from proxy.secrets import Source

Secrets = Callable[[], Awaitable[Collection[str]]]

_SECRET = re.compile(
    r"pass|pwd|secret|credential|auth|\bpin\b|token|key|assertion|verifier|signature|code", re.IGNORECASE
)
_PUBLIC = re.compile(r"_(?:type|method)$")  # names that contain one of the above, such as subject_token_type


def names_secret(name: str) -> bool:
    """Whether a key or a field of this name usually holds a secret."""
    return bool(_SECRET.search(name)) and not _PUBLIC.search(name)


def sent(form: Iterable[tuple[str, str]], headers: Mapping[str, str]) -> Iterator[str]:
    """Return the secrets of a request: a server may repeat them in its response."""
    yield from (value for name, value in form if value and names_secret(name))
    for name, value in headers.items():
        if name.lower() == "authorization":
            scheme, _, rest = value.partition(" ")
            yield rest or scheme
            yield from _basic(rest)
        elif names_secret(name) or name.lower() == "dpop":
            yield value


def _basic(encoded: str) -> Iterator[str]:
    """Return the password of HTTP Basic authentication; nothing if it is another scheme's."""
    try:
        password = b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError:
        return
    yield from filter(None, (password, unquote_plus(password)))


def received(table: Mapping[str, object]) -> list[str]:
    """Return the tokens and codes of a response: one that reports an error may have them, too."""
    return [value for name, value in table.items() if isinstance(value, str) and name.endswith(("token", "_code"))]


async def secret_values(sources: Iterable[tuple[object, Source]]) -> list[str]:
    """Return the values of secrets, by their keys, as far as they can be had.

    What is written in the configuration itself is secret if its key says so: ``client_secret`` is, ``client_id`` is
    not.
    """
    found = []
    for key, source in sources:
        if source.kind != "literal" or names_secret(str(key)):
            with suppress(CountersignError):
                found.append(await source.get())
    return found
