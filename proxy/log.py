"""Lines without secrets: one chain, one masking step, human on a terminal and JSON elsewhere.

No line is given headers, queries or bodies in the first place; the masking step catches what a text from
elsewhere, an exception's say, may hold.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from datetime import datetime
from typing import Any, Literal, TextIO

import structlog

from proxy.gateway import Story

Format = Literal["auto", "human", "json"]
Event = MutableMapping[str, Any]  # Any: structlog's type

_QUERY = re.compile(r"\?[^\s\"'<>]+")
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_CREDENTIAL = re.compile(r"\b(Bearer|Basic|Digest|Token)\s+[^\s\"',;]{4,}", re.IGNORECASE)
_GREY, _RED, _YELLOW, _RESET = "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


def mask(text: str) -> str:
    """Return `text` without queries, userinfo and credentials."""
    text = _USERINFO.sub("***@", _QUERY.sub("?***", text))
    return _CREDENTIAL.sub(lambda match: f"{match[1]} ***", text)


def _masked(_logger: object, _method: str, event: Event) -> Event:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = mask(value)
    return event


def _timed(_logger: object, _method: str, event: Event) -> Event:
    return {"time": datetime.now().astimezone().isoformat(timespec="milliseconds"), **event}


def _as_json(_logger: object, _method: str, event: Event) -> str:
    return json.dumps({key: value for key, value in event.items() if value not in ("", None)}, default=str)


class _Human:
    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: object, _method: str, event: Event) -> str:
        time = str(event.pop("time"))[11:19]
        level = str(event.pop("level"))
        text = str(event.pop("event"))
        if text == "request":
            return self._painted(time, _request_line(event), str(event.get("status", "")))
        rest = "".join(f" {key}={value}" for key, value in event.items())
        return self._painted(time, f"{level}: {text}{rest}", "500" if level == "error" else "400" * (level != "info"))

    def _painted(self, time: str, line: str, status: str) -> str:
        if not self._colours:
            return f"{time} {line}"
        colour = {"5": _RED, "4": _YELLOW}.get(status[:1], "")
        return f"{_GREY}{time}{_RESET} {colour}{line}{_RESET if colour else ''}"


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


class Log:
    """What the process says on stderr.

    Args:
        stream: where to.
        form: ``human``, ``json``, or ``auto``: human on a terminal.
        colours: whether colours are wanted if it is a terminal.
        requests: whether each request gets its line.

    """

    def __init__(
        self,
        stream: TextIO = sys.stderr,
        form: Format = "auto",
        *,
        colours: bool = True,
        requests: bool = True,
    ) -> None:
        human = form == "human" or (form == "auto" and stream.isatty())
        renderer: Callable[..., str] = _Human(colours=colours and stream.isatty()) if human else _as_json
        self._requests = requests
        self._logger = structlog.wrap_logger(
            structlog.PrintLogger(stream),
            processors=[structlog.processors.add_log_level, _timed, _masked, renderer],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        )

    def info(self, text: str, **fields: object) -> None:
        """Say something."""
        self._logger.info(text, **fields)

    def warning(self, text: str, **fields: object) -> None:
        """Say what users should see to."""
        self._logger.warning(text, **fields)

    def error(self, text: str, **fields: object) -> None:
        """Say what went wrong."""
        self._logger.error(text, **fields)

    def request(self, story: Story, duration: float) -> None:
        """Tell a request in one line; `duration` in seconds."""
        if self._requests:
            self._logger.info(
                "request",
                request_id=story.request_id,
                route=story.route,
                method=story.method,
                path=story.path,
                status=story.status,
                attempts=story.attempts,
                waited=round(story.waited, 3),
                duration=round(duration, 4),
                received=story.received,
                bytes=story.returned,
                complete=story.complete,
                notes="; ".join(dict.fromkeys(story.notes)),
                error=story.error,
                failure=story.failure,
            )

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
        self._log.warning(f"{record.name}: {record.getMessage()}{kind}")
