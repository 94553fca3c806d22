"""Mistakes in a configuration, told such that they can be mended: key path, what is wrong, what would be right.

Translates pydantic's errors; what was given is repeated only if it can't be a secret: a number or an address.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

Schema = dict[str, Any]  # Any: JSON
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake.

    Attributes:
        path: keys from the top.
        place: where it stands, if not where its path leads.
        is_unknown: whether it is that the key is unknown, so that the rest is as good without it.

    """

    path: tuple[str, ...]
    text: str
    place: str = ""
    is_unknown: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.text}" if self.path else self.text


def dotted(path: Iterable[str]) -> str:
    """Return a key path as TOML has it: ``routes."a b".upstream``."""
    return ".".join(key if _BARE.fullmatch(key) else _quoted(key) for key in path)


def _quoted(key: str) -> str:
    printable = "".join(char if char.isprintable() else "?" for char in key)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'


def nearest(word: str, known: Iterable[str], otherwise: str = "one of") -> str:
    """Return the known word that was probably meant, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(word.lower(), known, n=1) or difflib.get_close_matches(word, known, n=1)
    if near or len(known) == 1:
        return (near or known)[0]
    return f"{otherwise} {', '.join(known)}" if known else "none, since there are none"


def explain(failure: ValidationError, schema: Schema) -> Iterator[Mistake]:
    """Translate pydantic's errors, with the JSON Schema of the model that raised them."""
    errors = failure.errors(include_url=False)
    for error in errors:
        place = _walk(error["loc"], schema)
        if error["type"] == "too_short" and any(_is_below(other["loc"], error["loc"]) for other in errors):
            continue  # what is in the list is wrong itself
        yield _mistake(error, place)


def _is_below(loc: tuple[int | str, ...], other: tuple[int | str, ...]) -> bool:
    return len(loc) > len(other) and loc[: len(other)] == other


# -- where -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """A key path without pydantic's union tags, what the table has that its last key is in, and what it may be."""

    path: tuple[str, ...]
    table: Schema
    options: list[Schema]


def _walk(loc: tuple[int | str, ...], schema: Schema) -> _Place:
    path: list[str] = []
    options, parent = _options(schema, schema), schema
    for part in loc:
        if len(options) > 1:  # where there is a choice, pydantic names the one that it took
            named = [option for option in options if _is_named(option, part)]
            options = [option for option in named if "properties" in option] if len(named) > 1 else named
            parent = options[0] if options else {}
            continue
        path.append(str(part))
        parent = options[0] if options else {}
        inner = parent.get("items") if isinstance(part, int) else parent.get("additionalProperties")
        here = parent.get("properties", {}).get(part, inner)
        options = _options(here, schema) if isinstance(here, dict) else []
    return _Place(tuple(path), parent, options)


def _options(schema: Schema, root: Schema) -> list[Schema]:
    """The alternatives of a schema, references followed, without null."""
    if "$ref" in schema:
        return _options(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    found = [option for key in ("anyOf", "oneOf", "allOf") for option in schema.get(key, ())]
    if not found:
        return [] if schema.get("type") == "null" else [schema]
    return [each for option in found for each in _options(option, root)]


def _is_named(option: Schema, tag: int | str) -> bool:
    """Whether `tag` means `option`: its ``type``, a key that it needs, or that it is a table at all."""
    if "properties" not in option:
        return tag in ("name", "literal", "text")
    kind = option["properties"].get("type", {}).get("const")
    return tag == "table" or tag == kind or (kind is None and tag in option.get("required", ()))


# -- what --------------------------------------------------------------------------------------------------

_URL = 'not a URL; right would be "https://api.example.com/base"'
_TABLE = "is not a table; right would be keys and values"
_WHOLE = "is not a whole number; right would be digits"
_NUMBER = "is not a number; right would be digits"
_SWITCH = "is not a yes or no; right would be true or false"
_LIST = "is not a list; right would be [ … ]"
_MOST_KEYS = 6  # that are named where a table is expected

_PLAIN = {
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "string_type": 'is not a text; right would be "…"',
    "path_type": 'is not a path; right would be "/…"',
    "is_instance_of": _URL,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "invalid-json-value": "is none of JSON's values; right would be a text, a number, true, false, a list or a table",
}
_BOUNDS = {
    "greater_than_equal": ("is too small; right would be at least {}", "ge"),
    "less_than_equal": ("is too large; right would be at most {}", "le"),
    "too_short": ("has too few; right would be at least {}", "min_length"),
    "string_pattern_mismatch": ("is malformed; right would be what matches {}", "pattern"),
}
_EXAMPLES = {
    "upstream": '"https://api.example.com"',
    "issuer": '"https://login.example.com"',
    "token_url": '"https://login.example.com/token"',
    "authorization_url": '"https://login.example.com/authorize"',
    "device_authorization_url": '"https://login.example.com/device"',
    "app_id": "123456",
    "command": '["program", "argument"]',
    "installation_id": "123456",
    "key_file": '"/…/account.json"',
    "login": '{ url = "https://…/login", form = { … } }',
    "class": '"package.module:Class"',
    "name": '"X-Api-Key"',
    "string_to_sign": '"{method}{target}{timestamp}"',
}


def _mistake(error: Any, place: _Place) -> Mistake:  # Any: pydantic's ErrorDetails
    kind, context, path = error["type"], error.get("ctx", {}), place.path
    if kind == "extra_forbidden":
        right = nearest(path[-1], place.table.get("properties", {}))
        return Mistake(path, f"unknown key; right would be {right}", is_unknown=True)
    if kind == "union_tag_invalid":
        right = nearest(str(context["tag"]), _words(context["expected_tags"]))
        return Mistake((*path, "type"), f"no such type; right would be {right}")
    if kind == "union_tag_not_found":
        kinds = [option["properties"]["type"]["const"] for option in place.options if "properties" in option]
        return Mistake((*path, "type"), f"is missing; right would be {nearest('', kinds)}")
    if path == ("routes",) and kind in ("too_short", "missing"):
        return Mistake(path, "is empty; right would be at least one [routes.NAME] with an upstream")
    if kind == "too_short" and context["min_length"] == 1:
        return Mistake(path, "is empty; right would be at least one")
    if kind == "string_pattern_mismatch" and path[-1] in _EXAMPLES:
        return Mistake(path, f"is malformed; right would be {_EXAMPLES[path[-1]]}")
    if kind in _BOUNDS:
        text, key = _BOUNDS[kind]
        return Mistake(path, text.format(context[key]))
    text = _PLAIN.get(kind) or _text(error, path)
    if text == _TABLE:
        text = _table(place)
    if text == _LIST and isinstance(error["input"], int) and _holds_numbers(place):
        text = f"is not a list; expected [{error['input']}]"
    return Mistake(path, text if kind not in _QUOTABLE else _with_given(error["input"], text))


def _table(place: _Place) -> str:
    if place.path in (("routes",), ("credentials",)):
        return f"is not a table; expected [{place.path[0]}.NAME], a table for each"
    if len(place.path) == 2 and place.path[0] in ("routes", "credentials"):
        known = {key for option in place.options for key in option.get("properties", ())}
        if place.path[1] in known:  # the name is missing
            return f"is not a table; expected {place.path[1]} in [{place.path[0]}.NAME]"
    option = place.options[0] if place.options else {}
    keys = sorted(option.get("properties", ()), key=lambda key: key not in option.get("required", ()))
    if not keys:
        return _TABLE
    if len(place.options) > 1:
        return 'is not a table; expected { type = "…", … }'
    return f"is not a table; expected one with {', '.join(keys[:_MOST_KEYS])}{', …' * (len(keys) > _MOST_KEYS)}"


def _holds_numbers(place: _Place) -> bool:
    return any(option.get("items", {}).get("type") in ("integer", "number") for option in place.options)


_QUOTABLE = frozenset({*_PLAIN, "value_error"} - {"string_type"})  # a number in place of a text may be a secret
_HARMLESS = re.compile(
    r"\d{1,6}(?: ?[A-Za-z]{1,8})?|(?:https?://)?(?:(?:[A-Za-z0-9.*-]{0,64}|\[[0-9A-Fa-f:.]{0,39}\]):\d{0,6}|localhost)/?"
    r"|\d{1,3}(?:\.\d{1,3}){3}|\[?[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}\]?",
    re.ASCII,
)
_LARGEST = 1_000_000


def _with_given(value: object, text: str) -> str:
    """Put what was given in front of what is wrong with it, if it can't be a secret."""
    given = ""
    if isinstance(value, bool):
        given = str(value).lower()
    elif isinstance(value, int | float) and abs(value) < _LARGEST:
        given = str(value)
    elif isinstance(value, str) and _HARMLESS.fullmatch(value):
        given = f'"{value}"'
    if given and text.startswith("is not "):
        return f"{given} {text}"
    return f"{given} is {text}" if given and text.startswith("not ") else text


def _text(error: Any, path: tuple[str, ...]) -> str:  # Any: pydantic's ErrorDetails
    given = error.get("input")
    match error["type"]:
        case "missing":
            return "is missing; right would be " + (f"{path[-1]} = " + _EXAMPLES.get(path[-1], "…"))
        case "literal_error":
            words = _words(error["ctx"]["expected"].replace(" or ", ", "))
            return "is not allowed; right would be " + nearest(given if isinstance(given, str) else "", words)
        case "value_error":
            return str(error["ctx"]["error"])
    return str(error["msg"]).replace("Input should be", "is wrong; right would be", 1)


def _words(listed: str) -> list[str]:
    return [word.strip().strip("'") for word in listed.split(",")]
