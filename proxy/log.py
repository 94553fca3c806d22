"""Lines without secrets: one chain, one masking step, human on a terminal and JSON elsewhere.

No line is given headers, queries or bodies in the first place; the masking step catches what a text from
elsewhere, an exception's say, may hold.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, TextIO

import structlog

from proxy.gateway import Story

Format = Literal["auto", "human", "json"]
Event = MutableMapping[str, Any]  # Any: structlog's type
Step = Callable[[Any, str, Event], Any]  # Any: an Event, or a line in the end

_SUSPECT = re.compile(r"[\s?=@]")  # what holds none of these is a word
_QUERY = re.compile(r"\?[^\s\"'<>]+")
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_FIELD = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]*(?:key|token|secret))(\W?\s*[:=]\s*)[^\r\n]+", re.IGNORECASE
)
_PAIR = re.compile(r"([\w-]*(?:token|secret|password|passwd|api_?key|signature))=[^\s\"',;&]+", re.IGNORECASE)
_JSON = re.compile(r"([\w-]*(?:token|secret|password|api_?key|signature)[\"']\s*:\s*[\"'])[^\"']+", re.IGNORECASE)
# Not in "the token endpoint" and the like.
_CREDENTIAL = re.compile(
    r"\b(Bearer|Basic|Digest|Token)\s+(?!(?:tokens?|endpoints?|stores?|renewals?|requests?|is|was|has|for|from|of|or|and)\b)"
    r"[^\s\"',;]{4,}",
    re.IGNORECASE,
)
_LONGEST = 1024  # characters of what clients have made up
_GREY, _RED, _YELLOW, _RESET = "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


def mask(text: str) -> str:
    """Return `text` without queries, userinfo and credentials."""
    if not _SUSPECT.search(text):
        return text
    text = _USERINFO.sub("***@", _QUERY.sub("?***", text))
    text = _FIELD.sub(r"\1\2***", text)
    text = _JSON.sub(r"\1***", _PAIR.sub(r"\1=***", text))
    return _CREDENTIAL.sub(r"\1 ***", text)


def _masked(_logger: object, _method: str, event: Event) -> Event:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = mask(value)
    return event


@lru_cache(maxsize=2)
def _second(now: int) -> tuple[str, str]:
    """Date and time of day, and the zone; the same for all lines of a second."""
    text = datetime.fromtimestamp(now).astimezone().isoformat()
    return text[:19], text[19:]


def _timed(_logger: object, _method: str, event: Event) -> Event:
    now = time.time()
    date, zone = _second(int(now))
    return {"time": f"{date}.{int(now % 1 * 1000):03}{zone}", **event}


_encode = json.JSONEncoder(default=str).encode


def _as_json(_logger: object, _method: str, event: Event) -> str:
    return _encode(event)


class _Human:
    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: object, _method: str, event: Event) -> str:
        clock = str(event.pop("time"))[11:19]
        level = str(event.pop("level"))
        text = str(event.pop("event"))
        if text == "request":
            return self._painted(clock, _request_line(event), str(event.get("status", "")))
        rest = "".join(f" {key}={value}" for key, value in event.items())
        return self._painted(clock, f"{level}: {text}{rest}", "500" if level == "error" else "400" * (level != "info"))

    def _painted(self, clock: str, line: str, status: str) -> str:
        line = _one_line(line)
        if not self._colours:
            return f"{clock} {line}"
        colour = {"5": _RED, "4": _YELLOW}.get(status[:1], "")
        return f"{_GREY}{clock}{_RESET} {colour}{line}{_RESET if colour else ''}"


def _one_line(text: str) -> str:
    """A line that clients had a part in may neither forge another one nor paint the terminal."""
    if text.isprintable():
        return text
    text = text.replace("\n", " | ")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _cut(text: str) -> str:
    """What is longer than a pipe takes at once would be torn apart by the lines of other processes."""
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _request_line(event: Event) -> str:
    told = []
    if event["attempts"] > 1:
        told.append(f"{event['attempts']} attempts")
    if event["waited"]:
        told.append(f"waited {event['waited']:.1f}s")
    told += [str(event[key]) for key in ("notes", "error", "failure") if event.get(key)]
    route = f" [{event['route']}]" if event.get("route") else ""
    tail = f" ({'; '.join(told)})" if told else ""
    took = f"{event['duration'] * 1000:.0f}ms {event['bytes']}B"
    return f"{event['status']} {event['method']} {event['path']}{route} {took}{tail} {event['request_id']}"


class _Stream:
    """Writes lines; whoever reads them may go away, which ends no request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    info = warning = error = msg


class Log:
    """What the process says on stderr.

    Args:
        stream: where to, in place of stderr.
        form: ``human``, ``json``, or ``auto``: human on a terminal.
        colours: whether colours are wanted if it is a terminal.
        requests: whether each request gets its line.

    """

    def __init__(
        self,
        stream: TextIO | None = None,
        form: Format = "auto",
        *,
        colours: bool = True,
        requests: bool = True,
    ) -> None:
        stream = stream or sys.stderr
        human = form == "human" or (form == "auto" and stream.isatty())
        renderer: Callable[..., str] = _Human(colours=colours and stream.isatty()) if human else _as_json
        self._requests = requests
        self._stream = _Stream(stream)
        self._chain: list[Step] = [structlog.processors.add_log_level, _timed, _masked, renderer]
        self._logger = structlog.wrap_logger(
            self._stream,
            processors=self._chain,
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        ).bind()  # once, not for each line

    def info(self, text: str, **fields: object) -> None:
        """Say something."""
        self._logger.info(text, **fields)

    def warning(self, text: str, **fields: object) -> None:
        """Say what users should see to."""
        self._logger.warning(text, **fields)

    def error(self, text: str, **fields: object) -> None:
        """Say what went wrong."""
        self._logger.error(text, **fields)

    def defect(self, failure: BaseException) -> None:
        """Tell what nobody expected: where it happened, not what it said."""
        trace = failure.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
        self.error("an unexpected exception; please report it", kind=type(failure).__name__, where=where)

    def request(self, story: Story, duration: float) -> None:
        """Tell a request in one line; `duration` in seconds."""
        if not self._requests:
            return
        event: Any = {  # Any: a line in the end
            "event": "request",
            "request_id": story.request_id,
            "route": story.route,
            "method": _cut(story.method),
            "path": _cut(story.path),
            "status": story.status,
            "attempts": story.attempts,
            "waited": round(story.waited, 3),
            "duration": round(duration, 4),
            "received": story.received,
            "bytes": story.returned,
            "complete": story.complete,
        }
        if story.notes:
            event["notes"] = "; ".join(dict.fromkeys(story.notes))
        if story.error or story.failure:
            event |= {"error": story.error, "failure": story.failure}
        # What the logger would do, too, but without handing fourteen keywords from one function to the next.
        for step in self._chain:
            event = step(None, "info", event)
        self._stream.msg(event)

    def take_over_stdlib(self) -> None:
        """Have what libraries log come out here, masked, and only what is a warning at least."""
        handler = _Bridge(self)
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class _Bridge(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        # Without the traceback: its lines could hold a value.
        kind = f" ({record.exc_info[0].__name__})" if record.exc_info and record.exc_info[0] else ""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001  # arguments that don't fit; logging would print them all
            text = "a message that can't be formatted"
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        say(f"{record.name}: {text}{kind}")
