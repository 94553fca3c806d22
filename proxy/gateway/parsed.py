"""What aiohttp's parser made of a head, looked at again: it takes RTSP for HTTP, and may lose what follows a head.

Asked only where something is odd.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from proxy.errors import HeadTooLarge, InternalError, MalformedRequest, ProxyError
from proxy.gateway.guard import method_denied

_DENIED = re.compile(rb"(?:\r?\n)*(TRACE|CONNECT) +[^ \r\n]+ +HTTP/1\.[01]\r\n")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What stands in the place of a message that is refused before anything else is asked about it."""

    error: ProxyError


SPOKE_HTTP2 = "HTTP/2 is not served here; expected HTTP/1.1"
# How the parser's messages begin; what follows repeats the request.
_FLAWS = {
    "Missing 'Host'": "Host is missing",
    "Invalid method": "the method is malformed",
    "Invalid header": "a header field is malformed",
    "Bad status line": "the request line is malformed; expected METHOD /PATH HTTP/1.1",
    "Invalid character in Content-Length": "Content-Length is malformed",
    "Pause on PRI": SPOKE_HTTP2,
}


def judged(
    message: Any, head: bytes, *, method: str = "", limit: int, has_body: bool, upgraded: bool
) -> Any:  # Any: aiohttp keeps their names to itself
    """Return what is to be served instead of a message, or the message.

    Args:
        message: of the parser.
        head: its bytes; of one that is refused those that have come.
        method: in whose place the parser was given another, or nothing.
        limit: bytes that a head may have.
        has_body: whether it has one.
        upgraded: whether the parser has stopped behind it, for another protocol.

    """
    if not hasattr(message, "raw_headers"):
        # The parser refuses them if their target is none, or a Host is missing.
        denied = _DENIED.match(head)
        return Refusal(method_denied(denied[1].decode())) if denied else message
    if len(head) > limit:
        return Refusal(HeadTooLarge())
    if b"RTSP/" in head and is_rtsp(head, message.method, message.path.encode("utf-8", "surrogateescape")):
        return Refusal(MalformedRequest("the protocol is not HTTP"))
    if method:
        message = message._replace(method=method)
    if message.upgrade and not upgraded and has_body:
        return message._replace(should_close=True)
    return message


def is_rtsp(data: bytes, method: str, target: bytes) -> bool:
    """Whether a request line among `data` speaks RTSP, which llhttp takes for HTTP if the method is both's."""
    line = rb"(?:^|\n)%b +%b +RTSP/" % (re.escape(method.encode()), re.escape(target))
    return re.search(line, data) is not None


def fault(info: Any) -> ProxyError:  # Any: as above
    """Return what is wrong with what was refused, but for long lines; aiohttp's own page would echo it."""
    if isinstance(info, Refusal):
        return info.error
    if info.message and "Too many headers" in info.message:
        return HeadTooLarge()
    if info.status != 400:
        return InternalError()
    known = (text for begin, text in _FLAWS.items() if (info.message or "").lstrip().startswith(begin))
    return MalformedRequest(next(known, ""))
