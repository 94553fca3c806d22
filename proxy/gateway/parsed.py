"""What aiohttp's parser made of a head, looked at again: it takes RTSP for HTTP, and may lose what follows a head.

Asked only where something is odd.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from proxy.errors import HeadTooLarge, InternalError, MalformedRequest, ProxyError
from proxy.gateway import Inbound
from proxy.gateway.guard import method_denied

_DENIED = re.compile(rb"(?:\r?\n)*(TRACE|CONNECT) +[^ \r\n]+ +HTTP/1\.[01]\r\n")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What stands in the place of a message that is refused before anything else is asked about it."""

    error: ProxyError


def judged(
    message: Any, data: bytes, *, has_body: bool, upgraded: bool
) -> Any:  # Any: aiohttp keeps their names to itself
    """Return what is to be served instead of a message, or the message.

    Args:
        message: of the parser.
        data: the bytes that it came in, from where its head or that of one before it began.
        has_body: whether it has one.
        upgraded: whether the parser has kept what followed.

    """
    if not hasattr(message, "raw_headers"):
        # The parser refuses them if their target is none, or a Host is missing.
        denied = _DENIED.match(data)
        return Refusal(method_denied(denied[1].decode())) if denied else message
    if is_rtsp(data, message.method, message.path.encode("utf-8", "surrogateescape")):
        return Refusal(MalformedRequest("the protocol is not HTTP"))
    if message.upgrade and not upgraded and (has_body or not is_just_a_head(data)):
        return message._replace(should_close=True)
    return message


def is_rtsp(data: bytes, method: str, target: bytes) -> bool:
    """Whether a request line among `data` speaks RTSP, which llhttp takes for HTTP if the method is both's."""
    line = rb"(?:^|\n)%b +%b +RTSP/" % (re.escape(method.encode()), re.escape(target))
    return re.search(line, data) is not None


def is_just_a_head(data: bytes) -> bool:
    """Whether `data` is a single head; what follows one whose upgrade the parser doesn't know, it drops."""
    return 0 <= data.find(b"\r\n\r\n") == len(data) - 4


def fault(info: Any) -> ProxyError:  # Any: as above
    """Return what is wrong with what was refused, but for long lines; aiohttp's own page would echo it."""
    if isinstance(info, Refusal):
        return info.error
    if info.message and "Too many headers" in info.message:
        return HeadTooLarge()
    return MalformedRequest() if info.status == 400 else InternalError()


def head_size(inbound: Inbound) -> int:
    """Return about as many bytes as the request's head had."""
    return len(inbound.target) + sum(len(name) + len(value) + 4 for name, value in inbound.head.raw)
