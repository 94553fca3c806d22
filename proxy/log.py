"""Lines without secrets: one chain, one masking step, human on a terminal and JSON elsewhere.

No line is given headers, queries or bodies in the first place; the masking step catches what a text from
elsewhere, an exception's say, may hold.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

import structlog

from proxy.errors import place
from proxy.gateway import Story
from proxy.lines import Descriptor, Lines
from proxy.printable import printable
from proxy.waiting import SHORTEST

Format = Literal["auto", "human", "json"]
Level = Literal["debug", "info", "warning", "error"]
Event = MutableMapping[str, Any]  # Any: structlog's type

_SUSPECT = re.compile(r"[\s?=@]")  # what holds none of these is a word
_QUERY = re.compile(r"\?[^\s\"'<>]+")
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
# Names are searched for where a word begins only: else a long one would be read to its end for each of its letters.
_FIELD = re.compile(
    r"(\b(?:proxy-)?authorization|\b(?:set-)?cookie|(?<![\w-])x-[\w-]*(?:key|token|secret))(\W?\s*[:=]\s*)[^\r\n]+",
    re.IGNORECASE,
)
_PAIR = re.compile(r"(?<![\w-])([\w-]*(?:token|secret|password|passwd|api_?key|signature))=[^\s\"',;&]+", re.IGNORECASE)
_JSON = re.compile(
    r"(?<![\w-])([\w-]*(?:token|secret|password|api_?key|signature)[\"']\s*:\s*[\"'])[^\"']+", re.IGNORECASE
)
# Not in "the token endpoint", "Basic authentication", "refresh token expired" and the like.
_CREDENTIAL = re.compile(
    r"\b(Bearer|Basic|Digest|Token(?!\s+(?-i:[a-z']{1,14})[.,;:!?)]*(?:\s|$)))\s+"
    r"(?!(?:tokens?|endpoints?|stores?|renewals?|requests?|auth(?:entication|orization)?|is|was|has|for|from|of|or|and)\b)"
    r"[^\s\"',;]{4,}",
    re.IGNORECASE,
)
_ARGUMENTS = re.compile(r"\(.*\)|exception=.*")
_quoted = json.encoder.encode_basestring_ascii
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


class _Json:
    _encode = staticmethod(json.JSONEncoder(default=str).encode)

    def __call__(self, _logger: object, _method: str, event: Event) -> str:
        return self._encode(event)

    def request(self, story: Story, duration: float) -> str:
        # The fields are known, and there are many lines: written out, one costs a third of what a dict does.
        now = time.time()
        date, zone = _second(int(now))
        notes = f', "notes": {_quoted(mask(_notes(story)))}' if story.notes else ""
        failure = ""
        if story.error or story.failure:
            failure = f', "error": {_quoted(mask(story.error))}, "failure": {_quoted(mask(story.failure))}'
        return (
            f'{{"time": "{date}.{int(now % 1 * 1000):03}{zone}", "level": "info", "event": "request", '
            f'"request_id": "{story.request_id}", "route": {_quoted(story.route)}, '
            f'"method": {_quoted(_made_up(story.method))}, "path": {_quoted(_made_up(story.path))}, '
            f'"status": {story.status}, "attempts": {story.attempts}, "waited": {round(story.waited, 3)}, '
            f'"duration": {round(duration, 4)}, "received": {story.received}, "bytes": {story.returned}, '
            f'"complete": {"true" if story.complete else "false"}{notes}{failure}}}'
        )


class _Human:
    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: object, _method: str, event: Event) -> str:
        clock = str(event.pop("time"))[11:19]
        level = str(event.pop("level"))
        text = str(event.pop("event"))
        rest = "".join(f" {key}={value}" for key, value in event.items())
        return self._painted(clock, f"{level}: {text}{rest}", {"error": "500", "warning": "400"}.get(level, ""))

    def request(self, story: Story, duration: float) -> str:
        clock = _second(int(time.time()))[0][11:19]
        return self._painted(clock, _request_line(story, duration), str(story.status))

    def _painted(self, clock: str, line: str, status: str) -> str:
        line = _one_line(line)
        if not self._colours:
            return f"{clock} {line}"
        colour = {"5": _RED, "4": _YELLOW}.get(status[:1], "")
        return f"{_GREY}{clock}{_RESET} {colour}{line}{_RESET if colour else ''}"


def _one_line(text: str) -> str:
    """A line that clients had a part in may neither forge another one nor paint the terminal."""
    return printable(text.replace("\n", " | "))


def _made_up(text: str) -> str:
    """What a client has made up: masked, and cut where a pipe would not take the line at once.

    The lines of other processes would tear it apart.
    """
    return mask(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")


def _notes(story: Story) -> str:
    return "; ".join(dict.fromkeys(story.notes))


def _request_line(story: Story, duration: float) -> str:
    told = []
    if story.attempts > 1:
        told.append(f"{story.attempts} attempts")
    if story.waited >= SHORTEST:
        told.append(f"waited {story.waited:.1f}s")
    told += [mask(text) for text in (_notes(story), story.error, story.failure) if text]
    route = f" [{story.route}]" if story.route else ""
    tail = f" ({'; '.join(told)})" if told else ""
    asked = f"{_made_up(story.method)} {_made_up(story.path)}"
    return f"{story.status} {asked}{route} {duration * 1000:.0f}ms {story.returned}B{tail} {story.request_id}"


class _Stream:
    """Writes lines; whoever reads them may go away, which ends no request."""

    def __init__(self, stream: Lines) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = msg


class Log:
    """What the process says on stderr.

    Args:
        stream: where to, in place of stderr.
        form: ``human``, ``json``, or ``auto``: human on a terminal.
        colours: whether colours are wanted if it is a terminal.
        requests: whether each request gets its line.
        level: lines below it are left out; a request's line has the level info.

    """

    def __init__(
        self,
        stream: Lines | None = None,
        form: Format = "auto",
        *,
        colours: bool = True,
        requests: bool = True,
        level: Level = "info",
    ) -> None:
        stream = stream or sys.stderr
        human = form == "human" or (form == "auto" and stream.isatty())
        self._form = _Human(colours=colours and stream.isatty()) if human else _Json()
        self._requests = requests and level in ("debug", "info")
        self._stream = _Stream(stream)
        self._logger = structlog.wrap_logger(
            self._stream,
            processors=[structlog.processors.add_log_level, _timed, _masked, self._form],
            wrapper_class=structlog.make_filtering_bound_logger(level),
        ).bind()  # once, not for each line

        if isinstance(stream, Descriptor):
            stream.regained = self._tell_of_loss

    def debug(self, text: str, **fields: object) -> None:
        """Say what helps to find a fault."""
        self._logger.debug(text, **fields)

    def info(self, text: str, **fields: object) -> None:
        """Say something."""
        self._logger.info(text, **fields)

    def warning(self, text: str, **fields: object) -> None:
        """Say what users should see to."""
        self._logger.warning(text, **fields)

    def error(self, text: str, **fields: object) -> None:
        """Say what went wrong."""
        self._logger.error(text, **fields)

    def _tell_of_loss(self, count: int) -> None:
        self.warning("lines of the log were lost: whatever takes them was full, or did not read them", lines=count)

    def defect(self, failure: BaseException) -> None:
        """Tell what nobody expected: where it happened, not what it said."""
        self.error("an unexpected exception; please report it", kind=type(failure).__name__, where=place(failure))

    def request(self, story: Story, duration: float) -> None:
        """Tell a request in one line; `duration` in seconds."""
        if self._requests:
            self._stream.msg(self._form.request(story, duration))

    def take_over_stdlib(self) -> None:
        """Have what libraries log come out here, masked, and only what is a warning at least.

        Below that they tell what they send and receive, and one that a stranger's credential has made talkative
        would tell it to whoever listens. The same for warnings that Python would print, and for exceptions in threads
        and finalizers.
        """
        logging.disable(logging.INFO)
        logging.captureWarnings(True)
        handler = _Bridge(self)
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
        threading.excepthook = lambda of: self._unheard(of.exc_value)
        sys.unraisablehook = lambda of: self._unheard(of.exc_value)

    def _unheard(self, failure: BaseException | None) -> None:
        if failure is not None and not isinstance(failure, SystemExit):
            self.defect(failure)


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
        if record.name == "asyncio":
            # Adds what was called with which arguments, and the exception of a task.
            text = _ARGUMENTS.sub("(…)", text.partition("\n")[0])
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        say(f"{record.name}: {text}{kind}")
