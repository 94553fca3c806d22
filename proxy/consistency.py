"""What no key can tell alone: names that lead nowhere, routes in each other's way, listeners that are too open.

Each function is given what it judges and yields mistakes; where a configuration is wrong elsewhere, too, it is
given the parts that are right.
"""

from __future__ import annotations

import codecs
import shlex
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from proxy.credentials import Credential
from proxy.errors import ConfigError
from proxy.gateway.settings import RouteSettings
from proxy.layers import KeyPath, Layer, Table
from proxy.listeners import kind
from proxy.mistakes import Mistake, nearest
from proxy.secrets import literal_text, meant
from proxy.transport.tls import TlsSettings, context
from proxy.values import split_words

# These are written as secrets, since they may come from the same places, or name a file that holds one.
_IDENTIFIERS = frozenset({"app_id", "client_id", "file", "installation_id", "key_file", "key_id", "username"})
_MARKED = "begins with a byte order mark, which OpenSSL can't read; expected the PEM without it"


def references(table: Table) -> Iterator[Mistake]:
    """Names of credentials that don't exist; judged as written, so that other mistakes don't hide them."""
    known = list(_tables(table, "credentials"))
    wanted: list[tuple[KeyPath, object]] = []
    for name, credential in _tables(table, "credentials").items():
        wanted += _members(("credentials", name), credential)
    for name, route in _tables(table, "routes").items():
        path: KeyPath = ("routes", name, "credential")
        credential = route.get("credential") if isinstance(route, dict) else None
        wanted += [(path, credential)] if isinstance(credential, str) else _members(path, credential)
    for path, member in wanted:
        if isinstance(member, str) and member not in known and member != "none":
            right = nearest(member, known) if known else '"none", or a table [credentials.NAME]'
            yield Mistake(path, f"no such credential; right would be {right}")


def _tables(table: Table, key: str) -> Table:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _members(path: KeyPath, credential: object) -> list[tuple[KeyPath, object]]:
    members = split_words(credential.get("credentials")) if isinstance(credential, dict) else None
    return [((*path, "credentials"), member) for member in members] if isinstance(members, list) else []


def cycles(credentials: Mapping[str, Credential]) -> Iterator[Mistake]:
    """Credentials that need each other."""
    for name in credentials:
        if name in _reachable(credentials, name):
            yield Mistake(("credentials", name, "credentials"), "leads back to itself; right would be another one")


def _reachable(credentials: Mapping[str, Credential], name: str) -> set[str]:
    found: set[str] = set()
    pending = list(credentials[name].named())
    while pending:
        member = pending.pop()
        if member not in found and member in credentials:
            found.add(member)
            pending += credentials[member].named()
    return found


def overlaps(routes: Mapping[str, RouteSettings], listen: Iterable[str], admin: str) -> Iterator[Mistake]:
    """Two routes that match the same requests, and addresses that are wanted for two things."""
    seen: dict[tuple[str | None, str | None, str], str] = {}
    listen = list(listen)
    for name, route in routes.items():
        other = seen.setdefault((route.listen, route.host, route.prefix), name)
        if other != name:
            yield Mistake(
                ("routes", name),
                f"matches the same requests as routes.{other}; right would be another prefix, host or listen",
            )
        if route.listen in listen or (route.listen and route.listen == admin):
            yield Mistake(("routes", name, "listen"), "is an address of [server], too; right would be one of its own")
    if len(set(listen)) < len(listen):
        yield Mistake(("server", "listen"), "names an address twice; right would be once")
    if admin in listen and not admin.endswith(":0"):
        yield Mistake(("server", "admin"), "is an address of server.listen, too; right would be one of its own")


def exposed(listened: Iterable[tuple[KeyPath, str]], wants: str) -> Iterator[Mistake]:
    """Listeners beyond this machine, which want a reason."""
    for path, address in listened:
        if address and not kind(address).is_local(address):
            yield Mistake(path, f"is beyond this machine; right would be 127.0.0.1, or {wants}")


def texts(secrets: Iterable[KeyPath], layers: Sequence[Layer]) -> Iterator[Mistake]:
    """Secrets that were meant to come from elsewhere, and would be sent as they are written in the strongest layer."""
    for path in secrets:
        found = ((_at(layer.table, path), layer) for layer in reversed(layers))
        text, layer = next((each for each in found if each[0] is not None), (None, layers[0]))
        right = meant(text, substituted=layer.is_written) if isinstance(text, str) else ""
        if right:
            yield Mistake(
                path,
                f'is a reference that is written as a text; expected {right}, or {{ literal = "…" }} for this text',
            )


def readable(secrets: Iterable[KeyPath], file: Path, table: Table) -> Iterator[Mistake]:
    """A secret that others can read, since they can read the `file` that says `table`, is none."""
    if not file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        return
    for path in secrets:
        if path[-1] not in _IDENTIFIERS and literal_text(_at(table, path)) is not None:
            yield Mistake(
                path,
                "a secret stands in a file that others can read; right would be "
                f"chmod 600 {shlex.quote(str(file))}, or {{ env = … }}",
            )


def empty(secrets: Iterable[KeyPath], table: Table) -> Iterator[Mistake]:
    """Secrets that are empty, as those are which a variable that is not set was to fill."""
    for path in secrets:
        if literal_text(_at(table, path)) == "":
            yield Mistake(path, "is empty; right would be a secret, or no such key")


def _at(table: Table, path: KeyPath) -> object:
    value: object = table
    for key in path:
        inner = dict(zip(map(str, range(len(value))), value, strict=True)) if isinstance(value, list) else value
        value = inner.get(key) if isinstance(inner, dict) else None
    return value


def certificates(tables: Iterable[tuple[KeyPath, TlsSettings]]) -> Iterator[Mistake]:
    """Files that are missing, or no certificates."""
    for path, tls in tables:
        missing = [key for key in ("ca", "cert", "key") if not _exists(getattr(tls, key))]
        yield from (Mistake((*path, key), "there is no such file; right would be a PEM file") for key in missing)
        marked = [key for key in ("ca", "cert", "key") if key not in missing and _is_marked(getattr(tls, key))]
        yield from (Mistake((*path, key), _MARKED) for key in marked)
        if tls.key is not None and tls.cert is None:
            yield Mistake((*path, "key"), "is the key of no certificate; right would be cert, too")
        elif not missing and not marked and tls != TlsSettings():
            try:
                context(tls)
            except ConfigError:
                yield _unusable(path, tls)


def _unusable(path: KeyPath, tls: TlsSettings) -> Mistake:
    """Return why files that are there can't be used."""
    own = "cert" if tls.key is None else "key"  # which has the key
    if _is_encrypted(getattr(tls, own)):
        return Mistake((*path, own), "the key has a password; expected a key without one, as PEM")
    return Mistake(path, "can't be used; right would be PEM files, and a key that belongs to cert")


def _is_encrypted(file: Path | None) -> bool:
    """Whether a PEM file says that its key is (RFC 7468, section 11; RFC 1421, section 4.6.1.1)."""
    try:
        text = b"" if file is None else file.read_bytes()
    except OSError:
        return False
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in text or b"Proc-Type: 4,ENCRYPTED" in text


def _is_marked(file: Path | None) -> bool:
    """Whether a file begins with a byte order mark: OpenSSL would skip the certificate behind it without a word."""
    try:
        if file is None:
            return False
        with file.open("rb") as opened:
            return opened.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    except OSError:
        return False  # what reads it next says why


def _exists(file: Path | None) -> bool:
    try:
        return file is None or file.is_file()
    except OSError:
        return False
