"""Answers of the proxy's own (RFC 9457), and what ``Proxy-Status`` tells of a request (RFC 9209)."""

from __future__ import annotations

import json
from email.utils import formatdate

from proxy.errors import ProxyError
from proxy.gateway import Answer, RawHeaders, Story
from proxy.waiting import SHORTEST, whole_seconds

_TYPE = "https://www.rfc-editor.org/rfc/rfc9209#name-"  # what the error types mean

# Nothing is loaded for what a browser shows of it, not even /favicon.ico, which would come as the proxy's own origin.
_POLICY = (b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'")


def _quoted(text: str) -> str:
    """As a structured field's string (RFC 8941, section 3.3.3)."""
    plain = "".join(char if " " <= char <= "~" else "?" for char in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def proxy_status(details: str, error: str = "") -> tuple[bytes, bytes]:
    """Return the field that says who answers, and what happened."""
    parts = ["countersign", *([f"error={error}"] if error else []), f"details={_quoted(details)}"]
    return b"Proxy-Status", "; ".join(parts).encode()


def problem(error: ProxyError, story: Story) -> Answer:
    """Return the answer that `error` is."""
    body = {
        "type": _TYPE + error.error.replace("_", "-"),
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "message": error.detail,  # which SDKs show of an error
        "route": story.route or None,
        "request_id": story.request_id,
    }
    fields: RawHeaders = [
        (b"Date", formatdate(usegmt=True).encode()),  # RFC 9110, section 6.6.1
        (b"Content-Type", b"application/problem+json"),
        (b"Cache-Control", b"no-store"),
        _POLICY,
        proxy_status(error.detail, error.error),
        *error.headers,
    ]
    if error.retry_after is not None:
        fields.append((b"Retry-After", str(whole_seconds(error.retry_after)).encode()))
    story.error = error.error
    story.failure = error.detail
    return Answer(error.status, fields, json.dumps(body).encode() + b"\n", close=error.close)


def success_note(story: Story) -> RawHeaders:
    """Return the field that tells what the proxy did for an upstream's answer; none if that was nothing."""
    details = list(dict.fromkeys(story.notes)) if story.notes else []
    if story.attempts > 1:
        details.append(f"{story.attempts} attempts")
    if story.waited >= SHORTEST:
        details.append(f"waited {story.waited:.1f}s")
    if story.failure:
        details.append(story.failure)
    return [proxy_status("; ".join(details), story.error)] if details else []
