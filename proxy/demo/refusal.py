"""How the demo API says no: JSON with ``error`` (a fixed word) and ``hint`` (what would be right)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web


def json_response(status: int, content: Mapping[str, object], headers: Mapping[str, str] | None = None) -> web.Response:
    """Return `content` as JSON for people to read, which ends in a newline."""
    text = json.dumps(content, indent=2) + "\n"
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)


class Refusal(Exception):  # an answer that is raised
    """A request is refused.

    Attributes:
        status: the HTTP status.
        error: a word for programs.
        hint: a sentence for people; no secret, no expected value stands in it.
        headers: further fields of the answer.
        details: further members of the JSON object.

    """

    def __init__(
        self,
        status: int,
        error: str,
        hint: str,
        *,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(hint)
        self.status = status
        self.error = error
        self.hint = hint
        self.headers = dict(headers or {})
        self.details = dict(details or {})

    def response(self) -> web.Response:
        """Return the answer."""
        content = {"error": self.error, "hint": self.hint, **self.details}
        return json_response(self.status, content, self.headers)
