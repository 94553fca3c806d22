"""What a route's configuration lets through: ``allow`` and ``deny``, judged on method and path.

A pattern is ``"METHOD path"`` or just a path; ``*`` stands for one segment or a part of it, ``**`` for any
number of them. The path is the one below the route's prefix, decoded once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import unquote_to_bytes

from pydantic import AfterValidator

from proxy.errors import Denied

_MERGED = re.compile(rb"/{2,}")
_PARAMETERS = re.compile(rb";[^/]*")
_METHOD = "[A-Z][A-Z-]*"
_RULE = re.compile(rf"(?:(\*|{_METHOD}(?:\|{_METHOD})*)\s+)?(\S+)")


def _check(rule: str) -> str:
    match = _RULE.fullmatch(rule.strip())
    if not match or not (match[2].startswith(("/", "*"))):
        raise ValueError('not a rule; right would be "GET /repos/**", "POST|PUT /a/*" or "DELETE **"')
    return rule.strip()


Rule = Annotated[str, AfterValidator(_check)]


_WILD = {"/**": "(?:/.*)?", "**": ".*", "*": "[^/]*"}


def compile_rule(rule: str) -> re.Pattern[bytes]:
    """Return the expression that matches ``b"METHOD path"``."""
    match = _RULE.fullmatch(rule)
    assert match
    methods = match[1] or "*"
    method = "[^ ]+" if methods == "*" else f"(?:{methods})"
    # "/a/**" covers "/a" itself, too. What stands encoded in a rule is decoded once, as the path is.
    pattern = "".join(
        _WILD.get(part) or re.escape(unquote_to_bytes(part)).decode("latin-1")
        for part in re.split(r"(/\*\*(?=/|$)|\*\*|\*)", match[2])
    )
    return re.compile(f"{method} {pattern}".encode("latin-1"), re.DOTALL)


class Policy:
    """The rules of one route."""

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self._allow = [compile_rule(rule) for rule in allow]
        self._deny = [compile_rule(rule) for rule in deny]
        self.is_open = not (self._allow or self._deny)

    def check(self, method: str, path: bytes) -> None:
        """Judge a request by its raw path below the prefix.

        Raises:
            Denied: a rule says no, or none of ``allow`` says yes.

        """
        if self.is_open:
            return
        decoded = unquote_to_bytes(path) or b"/"
        # Servers may merge slashes, take "\\" for one, cut parameters off or not care for the last slash, and so
        # see another path than we do: what is denied must be none of these, what is allowed stay allowed.
        merged = _MERGED.sub(b"/", decoded.replace(b"\\", b"/"))
        bare = _MERGED.sub(b"/", _PARAMETERS.sub(b"", merged))
        seen = {decoded, merged}
        if any(_matches(self._deny, method.upper(), way) for way in (*seen, bare, bare.rstrip(b"/") or b"/")):
            raise Denied("the route's deny does not let this through")
        if self._allow and not all(_matches(self._allow, method, way) for way in seen):
            raise Denied("the route's allow does not let this through")


def _matches(rules: Iterable[re.Pattern[bytes]], method: str, path: bytes) -> bool:
    subject = method.encode() + b" " + path
    return any(rule.fullmatch(subject) for rule in rules)
