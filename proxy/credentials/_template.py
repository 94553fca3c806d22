"""Templates of what is signed and sent: literal text and ``{fields}``, parsed once, rendered to bytes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])|[^{}]+")


class Template:
    """A parsed template.

    Attributes:
        fields: the names that it mentions.
        alone: the one name that it consists of, or "".
        is_clean: whether its own text is without control characters.

    """

    def __init__(self, text: str, known: Iterable[str]) -> None:
        """Parse `text`.

        Raises:
            ValueError: a lone brace, or a field that is not `known`.

        """
        known = sorted(known)
        self.text = text
        form: list[bytes] = []
        self._named: list[str] = []
        for match in _PART.finditer(text):
            if match[2]:
                raise ValueError(f"a lone {match[2]}; right would be {match[2] * 2} for the character itself")
            if match[1] is not None:
                self._named.append(_known(match[1], known))
                form.append(b"%b")
            else:
                form.append(match[0].replace("{{", "{").replace("}}", "}").encode().replace(b"%", b"%%"))
        self._form = b"".join(form)
        self.fields = frozenset(self._named)
        self.alone = self._named[0] if form == [b"%b"] else ""
        self.is_clean = not CONTROL.search(self._form)

    def render(self, values: Mapping[str, bytes]) -> bytes:
        """Put in the value of each field."""
        if self.alone:
            return values[self.alone]
        return self._form % tuple(map(values.__getitem__, self._named))


def _known(field: str, known: list[str]) -> str:
    if field in known or re.fullmatch(r"header:[!#$%&'*+.^_`|~0-9A-Za-z\-]+", field):
        return field
    near = difflib.get_close_matches(field.lower(), known, n=1)
    right = f"{{{near[0]}}}" if near else "one of " + " ".join(f"{{{name}}}" for name in (*known, "header:NAME"))
    raise ValueError(f"no such field {{{field}}}; right would be {right}")
