"""Reading the body of an authorization server's response: JSON, or a form as older servers send it.

Pure. The content type is a hint only: servers send JSON as text/html, and forms as text/plain.
"""

from __future__ import annotations

import json
import re
import zlib
from urllib.parse import parse_qsl

import httpx

Table = dict[str, object]

_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 100
_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)
_CODING = re.compile(r"[\w, -]{1,40}", re.ASCII)
_LOOKS_LIKE_FORM = re.compile(r"[\w.-]+=[^\s<>\"{}&]*(?:&[\w.-]+=[^\s<>\"{}&]*)*", re.ASCII)
_EXPECTED = ("access_token", "device_code", "error")  # one of them makes a text without a content type a form
_GZIP = b"\x1f\x8b"


def content_type(headers: httpx.Headers) -> str:
    """Return the media type in lower case, without parameters; empty if there is none."""
    return str(headers.get("content-type", "")).partition(";")[0].strip().lower()


def has_fields(headers: httpx.Headers) -> bool:
    """Whether a response says that its body is JSON or a form."""
    media = content_type(headers)
    return media == _FORM or media.endswith(("/json", "+json"))


def described(headers: httpx.Headers, size: int) -> str:
    """Return content type, coding and size of a body, to be shown in place of the body."""
    media = content_type(headers)
    coding = headers.get("content-encoding", "")
    parts = [media if _TYPE.fullmatch(media) else "an invalid content type" if media else "no content type"]
    if coding:
        parts.append(coding if _CODING.fullmatch(coding) else "an invalid content encoding")
    return ", ".join([*parts, f"{size} byte{'' if size == 1 else 's'}"])


def unpacked(body: bytes, headers: httpx.Headers, largest: int) -> bytes:
    """Return a body without its content coding; some servers use gzip though they were asked for none.

    A body that is not what its coding says is returned as it is.

    Raises:
        ValueError: it has more than `largest` bytes.

    """
    coding = headers.get("content-encoding", "").strip().lower()
    if coding in ("gzip", "x-gzip") or body.startswith(_GZIP):
        windows: tuple[int, ...] = (16 + zlib.MAX_WBITS,)
    elif coding == "deflate":
        windows = (zlib.MAX_WBITS, -zlib.MAX_WBITS)  # some send it without zlib's frame
    else:
        return body
    for window in windows:
        unpacker = zlib.decompressobj(window)
        try:
            plain = unpacker.decompress(body, largest + 1)
        except zlib.error:
            continue
        if len(plain) > largest:
            raise ValueError("too large")
        if plain or unpacker.eof:
            return plain
    return body


def parsed(body: bytes, headers: httpx.Headers) -> Table | None:
    """Return the fields of a body: members of a JSON object, or those of a form; None if it is neither."""
    try:
        found = _json(body)
    except (ValueError, RecursionError):
        return _form(body, content_type(headers))
    return found if isinstance(found, dict) else None


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except UnicodeDecodeError:
        return json.loads(body.decode("latin-1"))


def _form(body: bytes, media: str) -> Table | None:
    try:
        text = body.decode().strip()
        if media != _FORM and not _LOOKS_LIKE_FORM.fullmatch(text):
            return None
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return None
    if media != _FORM and not any(name in fields for name in _EXPECTED):
        return None
    return {**fields} or None
