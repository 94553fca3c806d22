"""Mistakes in a configuration, told such that they can be mended: key path, what is wrong, what would be right.

Translates pydantic's errors; what was given is never repeated, since it could be a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

Schema = dict[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake.

    Attributes:
        path: keys from the top.

    """

    path: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.text}" if self.path else self.text


def nearest(word: str, known: Iterable[str], otherwise: str = "one of") -> str:
    """Return the known word that was probably meant, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(word.lower(), known, n=1) or difflib.get_close_matches(word, known, n=1)
    if near:
        return near[0]
    return f"{otherwise} {', '.join(known)}" if known else "none, since there are none"


def explain(failure: ValidationError, schema: Schema) -> Iterator[Mistake]:
    """Translate pydantic's errors, with the JSON Schema of the model that raised them."""
    for error in failure.errors(include_url=False):
        path, table = _walk(error["loc"], schema)
        yield Mistake(path, _text(error, path, table))


def _walk(loc: tuple[int | str, ...], schema: Schema) -> tuple[tuple[str, ...], Schema]:
    """Return the key path without pydantic's union tags, and the schema of the table that the last key is in."""
    path: list[str] = []
    here, parent = schema, schema
    for part in loc:
        options = _options(here, schema)
        tagged = [option for option in options if _is_tagged(option, part)]
        if tagged and not any(str(part) in option.get("properties", {}) for option in options):
            here = tagged[0]
            continue
        if isinstance(part, int):
            path.append(str(part))
            continue
        known = [option for option in options if part in option.get("properties", {})]
        free = [option for option in options if isinstance(option.get("additionalProperties"), dict)]
        if part in ("table", "name", "dict", "literal", "function-after") and not known and not free:
            continue
        path.append(part)
        parent = (known or free or options or [{}])[0]
        here = known[0]["properties"][part] if known else free[0]["additionalProperties"] if free else {}
    return tuple(path), parent


def _options(schema: Schema, root: Schema) -> list[Schema]:
    """The alternatives of a schema, references followed."""
    if "$ref" in schema:
        return _options(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    found = [option for key in ("anyOf", "oneOf", "allOf") for option in schema.get(key, ())]
    return [each for option in found for each in _options(option, root)] if found else [schema]


def _is_tagged(option: Schema, tag: int | str) -> bool:
    properties = option.get("properties", {})
    return properties.get("type", {}).get("const") == tag or (
        tag in properties and option.get("required", [])[:1] == [tag]
    )


_PLAIN = {
    "missing": "is missing",
    "union_tag_not_found": "needs a type",
    "too_short": "is empty",
    "frozen_field": "can't be changed",
}


def _text(error: Any, path: tuple[str, ...], table: Schema) -> str:  # Any: pydantic's ErrorDetails
    kind, context = error["type"], error.get("ctx", {})
    given = error.get("input")
    match kind:
        case "extra_forbidden":
            return "unknown key; right would be " + nearest(path[-1], table.get("properties", {}))
        case "union_tag_invalid":
            tags = [tag.strip().strip("'") for tag in context["expected_tags"].split(",")]
            return "no such type; right would be " + nearest(str(context["tag"]), tags)
        case "literal_error":
            words = [word.strip().strip("'") for word in context["expected"].replace(" or ", ", ").split(",")]
            return "is not allowed; right would be " + nearest(given if isinstance(given, str) else "", words)
        case "value_error":
            return str(context["error"])
        case "secret":
            return str(error["msg"])
    if kind in _PLAIN:
        return _PLAIN[kind] + _example(kind, path)
    return str(error["msg"]).replace("Input should be", "is wrong; right would be", 1)


def _example(kind: str, path: tuple[str, ...]) -> str:
    if kind == "missing" and path[-1:] == ("upstream",):
        return '; right would be upstream = "https://api.example.com"'
    if kind == "too_short" and path == ("routes",):
        return "; right would be at least one [routes.NAME] with an upstream"
    return "; right would be to give it"
