"""The form that a token request carries (RFC 6749, section 3.2 and appendix B), read strictly."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote_plus

from proxy.demo.call import Call
from proxy.demo.refusal import Refusal

MEDIA_TYPE = "application/x-www-form-urlencoded"
LIMIT = 64 * 1024  # bytes

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def refused(error: str, description: str, *, status: int = 400, challenge: str = "") -> Refusal:
    """Return the error of a token endpoint (RFC 6749, section 5.2)."""
    headers = NO_STORE | ({"WWW-Authenticate": challenge} if challenge else {})
    return Refusal(status, error, description, headers=headers, details={"error_description": description})


async def read_form(call: Call) -> dict[str, str]:
    """Return the parameters of a POST; those without a value count as not sent.

    Raises:
        Refusal: another method or media type, not decodable, too large, or a parameter that comes twice.

    """
    if call.method != "POST":
        refusal = refused("invalid_request", "This endpoint wants POST.", status=405)
        refusal.headers["Allow"] = "POST"
        raise refusal
    if call.request.content_type != MEDIA_TYPE:
        raise refused("invalid_request", f"This endpoint wants a body of {MEDIA_TYPE}.")
    pairs = _parse(await call.text(LIMIT))
    form = dict(pairs)
    if len(form) < len(pairs):
        raise refused("invalid_request", "A parameter was sent more than once.")
    return {name: value for name, value in form.items() if value}


def decode(text: str) -> str:
    """Undo form-encoding; strict about UTF-8.

    Raises:
        ValueError: it is not encoded UTF-8.

    """
    return unquote_plus(text, errors="strict")


def _parse(content: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(content.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise refused("invalid_request", "The body is not form-encoded UTF-8.") from None
