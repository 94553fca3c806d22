"""The challenges of a 401 (RFC 9110, section 11.6.1): several in a field, several fields, commas everywhere.

Some servers leave out the commas between parameters; they are understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z\-]+"
_SPACE = r"[ \t]*"
_VALUE = r'[^\s,;"]+'  # servers forget to quote URLs and base64
_PARAMETER = re.compile(rf'({_NAME}){_SPACE}={_SPACE}(?:({_VALUE})|"((?:[^"\\]|\\.)*)")', re.DOTALL)
_SCHEME = re.compile(rf"({_NAME})(?:[ \t]+|(?=,|$))")
_TOKEN68 = re.compile(rf"[A-Za-z0-9\-._~+/]+=*{_SPACE}(?=,|$)")
_SEPARATOR = re.compile(r"[ \t,]*")
_UNREADABLE = re.compile(r'(?:"(?:[^"\\]|\\.?)*+(?:"|$)|[^,"])*+', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge.

    Attributes:
        scheme: in lower case.
        parameters: by name in lower case; of two the first counts.

    """

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def challenges(fields: Iterable[tuple[bytes, bytes]]) -> Iterator[Challenge]:
    """Challenges of all ``WWW-Authenticate`` fields, as far as they can be read."""
    for name, value in fields:
        if name.lower() == b"www-authenticate":
            yield from parse(value.decode("latin-1"))


def parse(value: str) -> Iterator[Challenge]:
    """Challenges of one field's value; something that is none is left out, up to the next comma."""
    at = _skipped(value, 0)
    while at < len(value):
        match = _SCHEME.match(value, at)
        if match is None:
            at = _skipped(value, _behind(value, at))
            continue
        challenge = Challenge(match[1].lower())
        at = match.end()
        token68 = _TOKEN68.match(value, at)
        at = _skipped(value, token68.end() if token68 else at)
        while parameter := _PARAMETER.match(value, at):
            name, plain, quoted = parameter.groups()
            challenge.parameters.setdefault(name.lower(), plain or _QUOTED_PAIR.sub(r"\1", quoted or ""))
            at = _skipped(value, parameter.end())
        yield challenge


def _behind(value: str, at: int) -> int:
    """Return the place of the next comma that is not quoted, or of the end."""
    match = _UNREADABLE.match(value, at)
    return match.end() if match else len(value)


def _skipped(value: str, at: int) -> int:
    match = _SEPARATOR.match(value, at)
    return match.end() if match else at
