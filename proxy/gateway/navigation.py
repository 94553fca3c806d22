"""Navigations of a browser that no page of the proxy's own origin began, and documents that an API serves to it.

``Sec-Fetch-Site: none`` survives redirects: a site that the user opened can lead to any address here. So the first
thing shown is a page of ours, and only a click on its link, which is same-origin, is sent upstream. Documents of an
API run in an origin of their own, since the proxy's is shared by all routes.
"""

from __future__ import annotations

import base64
import hashlib
import html

from proxy.errors import Denied
from proxy.gateway import Answer, RawHeaders

SANDBOX = (b"Content-Security-Policy", b"sandbox")
_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}"
    "a{display:inline-block;padding:.5rem 1rem;border:1px solid;border-radius:.3rem;text-decoration:none}"
    "code{overflow-wrap:anywhere}:root{color-scheme:light dark}"
)
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Countersign: {route}</title>
<style>{style}</style>
<h1>Send this request?</h1>
<p>Countersign adds the credential of route <strong>{route}</strong> to</p>
<p><code>{method} {target}</code></p>
<p>If a page or a message brought you here and you did not expect it, close this tab.</p>
<p><a href="{target}">Send the request</a></p>
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_FIELDS: RawHeaders = [
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (
        b"Content-Security-Policy",
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'".encode(),
    ),
]
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_DOCUMENTS = frozenset(
    {
        b"text/html",
        b"text/xsl", b"text/rdf",  # XML to Chromium, and to Firefox
        b"multipart/x-mixed-replace",  # Firefox shows its parts, whatever their types
        b"*/*", b"unknown/unknown", b"application/unknown",  # no type at all (WHATWG MIME Sniffing, section 7)
    }
)  # fmt: skip


def confirmation(method: str, target: bytes, route: str) -> Answer:
    """Return the page that names the request and links to it.

    Raises:
        Denied: the method is one that a click on a link can't send.

    """
    if method not in ("GET", "HEAD"):
        raise Denied("a browser was led here with a request that changes something; only GET can be confirmed")
    page = _PAGE.format(style=_STYLE, method="GET", route=html.escape(route), target=html.escape(_path(target)))
    return Answer(200, list(_FIELDS), page.encode())


def _path(target: bytes) -> str:
    text = target.decode("latin-1")
    # What begins with two slashes would name another host.
    return "/." + text if text.startswith("//") else text


def is_document(content_type: bytes) -> bool:
    """Whether a browser may show content of this type as a document that can run scripts, or guesses the type.

    Browsers read a malformed value in their own ways: they take the last member of a list, and ignore what follows a
    space. So every value that is not simply a type counts as a document's.
    """
    kind = content_type.partition(b";")[0].strip(b" \t").lower()
    if b"," in content_type or kind.translate(None, _TOKEN) != b"/" or kind.startswith(b"/") or kind.endswith(b"/"):
        return True
    return kind in _DOCUMENTS or kind.endswith((b"+xml", b"/xml"))
