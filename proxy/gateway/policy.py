"""What a route's configuration lets through: ``allow`` and ``deny``, judged on method and path.

A pattern is ``"METHOD path"`` or just a path; ``*`` stands for one segment or a part of it, ``**`` for any
number of them. The path is the one below the route's prefix, decoded once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Protocol
from urllib.parse import unquote_plus, unquote_to_bytes

from pydantic import AfterValidator

from proxy.errors import Denied

_MERGED = re.compile(rb"/{2,}")
_NETWORK_PATH = re.compile(rb"/{2,}[^/]*")
_NOT_IN_METHOD = re.compile(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETERS = re.compile(rb";[^/]*")
_METHOD = r"[!#$%&'+\-.^_`~0-9A-Za-z]+"  # any token without "*", which means all methods, and "|", which separates them
_RULE = re.compile(rf"(?:(\*|{_METHOD}(?:\|{_METHOD})*)\s+)?(\S+)")


def _check(rule: str) -> str:
    match = _RULE.fullmatch(rule.strip())
    if not match or not (match[2].startswith(("/", "*"))):
        raise ValueError('not a rule; right would be "GET /repos/**", "POST|PUT /a/*" or "DELETE **"')
    return rule.strip()


Rule = Annotated[str, AfterValidator(_check)]


# "/a/**" covers "/a" itself, too. A "*" before a slash or the end takes what it can, and gives nothing back.
_WILD = {"/**": b"(?:/.*)?", "**": b".*", "*": b"[^/]*", "*+": b"[^/]*+"}
_PARTS = re.compile(r"(/\*\*(?=/|$)|\*\*|\*)")


class Matcher(Protocol):
    """What a rule becomes."""

    def fullmatch(self, subject: bytes, /) -> object:
        """Return whether ``b"METHOD path"`` is meant."""


def compile_rule(rule: str, *, ignore_case: bool = False) -> Matcher:
    """Return what matches ``b"METHOD path"``, in a time that no path makes grow with its square.

    Args:
        rule: as configured.
        ignore_case: whether methods will come in upper case, and paths in `lower_case`.

    """
    match = _RULE.fullmatch(rule)
    assert match
    methods = match[1] or "*"
    named = re.escape(methods.upper() if ignore_case else methods).replace(r"\|", "|")
    method = "[^ ]+" if methods == "*" else f"(?:{named})"
    parts = _parts(match[2])
    if ignore_case:
        parts = [lower_case(part) if isinstance(part, bytes) else part for part in parts]
    # Of two that may give back, each length of the one would be tried with each of the other.
    if sum(part in ("*", "**", "/**") for part in parts[:-1]) > 1:
        return Automaton(re.compile(method.encode()), parts)
    path = b"".join(re.escape(part) if isinstance(part, bytes) else _WILD[part] for part in parts)
    return re.compile(method.encode() + b" " + path, re.DOTALL)


def _parts(path: str) -> list[str | bytes]:
    """Wildcards, and what stands between them: decoded once, as paths are."""
    parts: list[str | bytes] = [
        part if part in _WILD else unquote_to_bytes(part) for part in _PARTS.split(path) if part
    ]
    for at, following in enumerate([*parts[1:], "/**"]):
        if parts[at] == "*" and following[:1] in (b"/", "/"):
            parts[at] = "*+"
    return parts


class Automaton:
    """All that a rule could have matched so far, as bits: a step for each byte, whatever the rule is.

    A bit stands for what is still to come from its place on: a byte, or a wildcard, which stays there for each byte
    that it takes and may be left at any time.
    """

    def __init__(self, method: re.Pattern[bytes], parts: Iterable[str | bytes]) -> None:
        self._method = method
        self._takes = [0] * 256
        self._wild = self._optional = place = 0
        across = 0  # wildcards that take slashes, too
        for part in parts:
            if part == "/**":  # nothing at all, or a slash and anything
                self._optional |= 1 << place
            for byte in part if isinstance(part, bytes) else b"/" if part == "/**" else b"":
                self._takes[byte] |= 1 << place
                place += 1
            if isinstance(part, str):
                self._wild |= 1 << place
                across |= (part in ("**", "/**")) << place
                place += 1
        self._stays = [self._wild] * 256
        self._stays[ord("/")] = across
        self._end = 1 << place

    def fullmatch(self, subject: bytes) -> bool:
        """As `Matcher`."""
        method, _, path = subject.partition(b" ")
        if not self._method.fullmatch(method):
            return False
        state = self._left(1)
        for byte in path:
            state = self._left((state & self._takes[byte]) << 1 | state & self._stays[byte])
        return bool(state & self._end)

    def _left(self, state: int) -> int:
        """Add where one gets without a byte, by leaving wildcards."""
        while True:
            more = state | (state & self._wild) << 1 | (state & self._optional) << 2
            if more == state:
                return state
            state = more


class Policy:
    """The rules of one route."""

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self._allow = [compile_rule(rule) for rule in allow]
        self._deny = [compile_rule(rule, ignore_case=True) for rule in deny]
        self.is_open = not (self._allow or self._deny)

    def check(self, methods: Iterable[str], path: bytes) -> None:
        """Judge a request by its raw path below the prefix.

        Args:
            methods: the method, and what servers may execute in its place: a rule must not deny any of them, and
                all of them must be allowed.
            path: as sent, without the query.

        Raises:
            Denied: a rule says no, or none of ``allow`` says yes.

        """
        if self.is_open:
            return
        decoded = unquote_to_bytes(path) or b"/"
        # Servers may merge slashes, take "\\" for one, take what follows two slashes for a host, ignore case, cut
        # parameters off or ignore the last slash, and so see another path than we do: what is denied must be none
        # of these, what is allowed stay allowed.
        slashed = decoded.replace(b"\\", b"/")
        merged = _MERGED.sub(b"/", slashed)
        seen = {decoded, merged}
        network_path = _NETWORK_PATH.match(slashed)
        if network_path is not None:
            seen.add(_MERGED.sub(b"/", slashed[network_path.end() :]) or b"/")
        bare = {_MERGED.sub(b"/", _PARAMETERS.sub(b"", way)) for way in seen}
        denied = {lower_case(way) for way in seen | bare | {way.rstrip(b"/") or b"/" for way in bare}}
        for method in methods:
            if any(_matches(self._deny, method.upper(), way) for way in denied):
                raise Denied("the route's deny does not let this through")
            if self._allow and not all(_matches(self._allow, method, way) for way in seen):
                raise Denied("the route's allow does not let this through")


def lower_case(path: bytes) -> bytes:
    """Return a path without differences of case, for servers that ignore them."""
    return (
        path.lower()
        if path.isascii()
        else path.decode("utf-8", "surrogateescape").lower().encode("utf-8", "surrogateescape")
    )


def methods_of(method: str, target: bytes, overrides: Iterable[bytes]) -> list[str]:
    """Return every method that a server may take a request for.

    Args:
        method: of the request line.
        target: the request target; frameworks read ``_method`` in the query of a POST.
        overrides: values of fields such as ``X-HTTP-Method-Override``.

    """
    named = [value.decode("latin-1") for value in overrides]
    if method.upper() == "POST":
        for pair in re.split(r"[&;]", target.partition(b"?")[2].decode("latin-1")):
            name, _, value = pair.partition("=")
            if unquote_plus(name).strip().lower().partition("[")[0] == "_method":
                named.append(unquote_plus(value))
    return [method, *(word.upper() for text in named for word in _NOT_IN_METHOD.split(text) if word)]


def _matches(rules: Iterable[Matcher], method: str, path: bytes) -> bool:
    subject = method.encode() + b" " + path
    return any(rule.fullmatch(subject) for rule in rules)
