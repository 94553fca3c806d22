"""What the options of ``run --to`` mean: references to secrets, and the configuration that they make.

A REF names a secret, so that none stands in the process list: ``env:NAME``, ``file:PATH``, ``keyring:SERVICE/USER``
or ``cmd:COMMAND``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from proxy.errors import ConfigError
from proxy.layers import Table

_REFERENCES = "env:NAME, file:PATH, keyring:SERVICE/USER or cmd:COMMAND"
_KINDS = ("env", "file", "keyring", "cmd")
_REFERENCE = re.compile(rf"(?:{'|'.join(_KINDS)}):.", re.DOTALL)
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VARIABLE = re.compile(r"[^\s:=]+")
_BASIC = (
    "--basic: right would be USER:REF, REF:REF, or USER: and REF: for an empty password, "
    f"where USER is a text without a colon and REF is {_REFERENCES}"
)


def reference(flag: str, text: str) -> Table:
    """Return the secret table that a REF on the command line means.

    Args:
        flag: the option that it belongs to.
        text: what stands there.

    Raises:
        ConfigError: it is none; it is not repeated, since it may be the secret itself.

    """
    kind, _, rest = text.partition(":")
    table: Table = {}
    if rest:
        match kind:
            case "env" if _VARIABLE.fullmatch(rest):
                table = {kind: rest}
            case "file":
                table = {kind: rest}
            case "cmd":
                table = {"command": _words(flag, rest)}
            case "keyring":
                service, _, user = rest.rpartition("/")
                if not service or not user:
                    raise ConfigError(f"{flag}: keyring: right would be keyring:SERVICE/USER")
                table = {"keyring": service, "username": user}
    if not table:
        raise ConfigError(
            f"{flag}: a secret on the command line would stand in the process list; right would be {_REFERENCES}"
        )
    return table


def _words(flag: str, command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        raise ConfigError(f"{flag}: cmd: has a quote without its end; right would be cmd:'pass show api'") from None
    if not words:
        raise ConfigError(f"{flag}: cmd: names no command; right would be cmd:'pass show api'")
    return words


def basic(text: str) -> Table:
    """Return the credential that ``--basic`` means.

    ``[USER] ":" [REF]``, where USER is a text without a colon or itself a REF; one that is a REF ends at the first
    colon behind which there is nothing or a REF. One of the two sides may be empty. What can be read in both ways
    has a REF as its user.

    Raises:
        ConfigError: it is none of these; it is not repeated.

    """
    for user, password in _splits(text):
        if not password or _REFERENCE.match(password):
            username: Table | str = reference("--basic", user) if _REFERENCE.match(user) else user
            return {
                "type": "basic",
                "username": username,
                "password": reference("--basic", password) if password else "",
            }
    user, _, password = text.partition(":")
    if password and user not in _KINDS:
        reference("--basic", password)  # says what is wrong with it
    raise ConfigError(_BASIC)


def _splits(text: str) -> Iterator[tuple[str, str]]:
    """Yield what may be user and password: first with a REF as the user, then with a text."""
    if _REFERENCE.match(text):
        begin = text.index(":") + 2  # where it ends at the earliest
        yield from ((text[:at], text[at + 1 :]) for at in range(begin, len(text)) if text[at] == ":")
    user, colon, password = text.partition(":")
    if colon and (user or password) and (password or user not in _KINDS):
        yield user, password


def settings_of_flags(
    to: str, bearer: str | None, basic_: str | None, headers: Sequence[str], queries: Sequence[str]
) -> Table:
    """Return the configuration that ``run --to`` means, as a file would have it.

    Raises:
        ConfigError: one of the flags is wrong, or two of them set the same.

    """
    if bearer is not None and basic_ is not None:
        raise ConfigError("--bearer and --basic both set Authorization; expected one of them")
    named: dict[str, Table] = {}
    if bearer is not None:
        named["--bearer"] = {"type": "bearer", "token": reference("--bearer", bearer)}
    if basic_ is not None:
        named["--basic"] = basic(basic_)
    for flag, place, texts, separators in (
        ("--header", "header", headers, ":="),
        ("--query", "query", queries, "="),
    ):
        for text in texts:
            key = _pair(flag, text, separators)
            name = f"{flag} {key['name']}"
            if name.lower() in (known.lower() for known in named) if place == "header" else name in named:
                raise ConfigError(f"{flag}: two of them set the same name; expected each name once")
            named[name] = {"type": "api_key", "in": place, **key}
    if len(named) > 1:
        credential: object = {"type": "all", "credentials": list(named)}
    else:
        credential = next(iter(named.values()), {"type": "none"})
    route = {"prefix": "/", "upstream": to, "credential": credential}
    return {"routes": {"default": route}, **({"credentials": named} if len(named) > 1 else {})}


def _pair(flag: str, text: str, separators: str) -> Table:
    name, separator, value = text, "", ""
    if found := re.search(rf"[{separators}]", text):
        name, separator, value = text[: found.start()], found[0], text[found.end() :]
    # "X-Key env:NAME" has a colon, too, but not behind a name.
    if not separator or (flag == "--header" and not _FIELD_NAME.fullmatch(name.strip())):
        raise ConfigError(f"{flag}: right would be NAME{separators[0]}REF, where REF is {_REFERENCES}")
    return {"name": name.strip(), "value": reference(flag, value.strip())}


def settings_of_addresses(listen: tuple[str, ...], admin: str | None) -> Table:
    """Return the configuration that ``--listen`` and ``--admin`` mean, as a file would have it."""
    server: Table = {"listen": list(listen)} if listen else {}
    if admin is not None:
        server["admin"] = "" if admin == "none" else admin
    return {"server": server} if server else {}
