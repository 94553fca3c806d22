"""The kinds of values that configuration keys have: durations, sizes, lists of words.

Whatever is written in a file or in the environment becomes a frozen model, valid or not constructed; the
messages here are read by users and never repeat the input.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from proxy import environment

FilePath = Annotated[Path, AfterValidator(environment.beside)]

_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)(ms|s|m|h|d)?", re.ASCII)
_LONGEST = 1e15  # seconds; whatever is longer is a mistake
_SECONDS = {"ms": 0.001, None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"(\d{1,15})(\.\d{1,15})?(B|kB|KB|KiB|MB|MiB|GB|GiB)?", re.ASCII)
_BYTES = {
    None: 1, "B": 1, "kB": 10**3, "KB": 10**3, "KiB": 2**10,
    "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30,
}  # fmt: skip


class Model(BaseModel):
    """A part of the configuration: frozen, unknown keys are errors, its errors don't repeat what was given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


def parse_duration(value: object) -> object:
    """``"250ms"``, ``"30s"``, ``"5m"``, ``"2h"``, ``"1d"`` or plain seconds, as seconds.

    Raises:
        ValueError: it is none of these, negative or not finite.

    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if not match:
            raise ValueError('not a duration; right would be "250ms", "30s", "5m" or plain seconds')
        return float(match[1]) * _SECONDS[match[2]]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST:
        raise ValueError('not a duration; right would be "250ms", "30s", "5m" or plain seconds')
    return float(value)


def parse_size(value: object) -> object:
    """``"64KiB"``, ``"10MB"`` or plain bytes, as bytes.

    Raises:
        ValueError: it is none of these or negative.

    """
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if not match:
            raise ValueError('not a size; right would be "64KiB", "10MB" or plain bytes')
        return int(match[1]) * _BYTES[match[3]] + int(float(match[2] or 0) * _BYTES[match[3]])
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError('not a size; right would be "64KiB", "10MB" or plain bytes')
    return value


def split_words(value: object) -> object:
    """Commas separate the words of a list that stands in an environment variable."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    return value


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}], "title": "Duration"}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}], "title": "Size"}),
]
Words = Annotated[tuple[str, ...], BeforeValidator(split_words)]
Share = Annotated[float, Field(ge=0, le=1)]


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or address; nothing is resolved."""
    name = host.lower().strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
