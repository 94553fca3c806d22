"""What the process says on stderr: one line each, and never a secret."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from proxy.gateway import Story
from proxy.log import Format, Level, Log, _Bridge, mask

CANARY = "c4n4ry-s3cr3t"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def story(**facts: Any) -> Story:  # Any: whatever a story has
    made = Story("GET", "/github/repos", 0.0)
    usual = {"route": "github", "status": 200, "attempts": 1, "complete": True, "returned": 12}
    for name, value in {**usual, **facts}.items():
        setattr(made, name, value)
    return made


def written(say: Callable[[Log], None], form: Format = "json") -> str:
    stream = io.StringIO()
    say(Log(stream, form))
    return stream.getvalue()


# -- requests ----------------------------------------------------------------------------------------------


def test_a_request_is_one_line_of_json() -> None:
    told = story(waited=1.23456, received=3, notes=["renewed token", "renewed token"], attempts=2)
    line = written(lambda log: log.request(told, 0.123456))
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    fields = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", fields.pop("time"))
    assert fields == {
        "event": "request",
        "level": "info",
        "request_id": told.request_id,
        "route": "github",
        "method": "GET",
        "path": "/github/repos",
        "status": 200,
        "attempts": 2,
        "waited": 1.235,
        "duration": 0.1235,
        "received": 3,
        "bytes": 12,
        "complete": True,
        "notes": "renewed token",
    }


def test_a_request_is_one_line_for_people() -> None:
    plain = story()
    line = written(lambda log: log.request(plain, 0.0123), "human")
    assert re.fullmatch(rf"\d\d:\d\d:\d\d 200 GET /github/repos \[github\] 12ms 12B {plain.request_id}\n", line)
    rich = story(attempts=2, waited=1.26, notes=["renewed token"], error="dns_error", failure="no such host", route="")
    line = written(lambda log: log.request(rich, 0.0123), "human")
    assert "200 GET /github/repos 12ms 12B (2 attempts; waited 1.3s; renewed token; dns_error; no such host) " in line
    quick = story(attempts=2, waited=0.04)
    assert "(2 attempts) " in written(lambda log: log.request(quick, 0.0123), "human")


def test_requests_can_be_left_out() -> None:
    stream = io.StringIO()
    Log(stream, "json", requests=False).request(story(), 0)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("level", "lines"),
    [("debug", ["debug", "info", "request", "warning", "error"]), ("info", ["info", "request", "warning", "error"]),
     ("warning", ["warning", "error"]), ("error", ["error"]), (None, ["info", "request", "warning", "error"])],
)  # fmt: skip
def test_lines_below_the_level_are_left_out(level: Level | None, lines: list[str]) -> None:
    stream = io.StringIO()
    log = Log(stream, "json") if level is None else Log(stream, "json", level=level)
    log.debug("debug", token=f"token={CANARY}")
    log.info("info")
    log.request(story(), 0)
    log.warning("warning")
    log.error("error")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == lines
    assert CANARY not in stream.getvalue()


def test_only_warnings_and_errors_have_a_colour() -> None:
    terminal = Terminal()
    log = Log(terminal, "human", level="debug")
    for say in (log.debug, log.info, log.warning, log.error):
        say("x")
    assert ["\x1b[33m" in line or "\x1b[31m" in line for line in terminal.getvalue().splitlines()] == [
        False, False, True, True,
    ]  # fmt: skip


def test_a_line_for_people_is_one_line_whatever_is_in_it() -> None:
    line = written(lambda log: log.request(story(target="/\x1b[2J\n200 GET /forged"), 0), "human")
    assert line.count("\n") == 1
    assert "/\\x1b[2J | 200 GET /forged" in line
    assert written(lambda log: log.error("one\ntwo"), "human").endswith(" error: one | two\n")


# -- forms -------------------------------------------------------------------------------------------------


def test_json_unless_it_is_a_terminal() -> None:
    stream, terminal = io.StringIO(), Terminal()
    Log(stream).info("x")
    Log(terminal).info("x")
    assert json.loads(stream.getvalue())["event"] == "x"
    assert re.fullmatch("\x1b\\[2m\\d\\d:\\d\\d:\\d\\d\x1b\\[0m info: x\n", terminal.getvalue())


@pytest.mark.parametrize(("status", "colour"), [(200, ""), (404, "\x1b[33m"), (502, "\x1b[31m")])
def test_colours_on_a_terminal(status: int, colour: str) -> None:
    terminal = Terminal()
    Log(terminal, "human").request(story(status=status), 0)
    assert f"\x1b[0m {colour}{status} GET" in terminal.getvalue()


def test_no_colours_if_they_are_not_wanted() -> None:
    terminal = Terminal()
    log = Log(terminal, "human", colours=False)
    log.request(story(), 0)
    log.warning("x", route="a")
    assert "\x1b" not in terminal.getvalue()
    assert terminal.getvalue().endswith(" warning: x route=a\n")


def test_stderr_is_the_one_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    Log(form="json").info("x")
    assert json.loads(capsys.readouterr().err)["event"] == "x"


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_who_goes_away_ends_no_request() -> None:
    Log(Gone(), "json").request(story(), 0)
    closed = io.StringIO()
    closed.close()
    Log(closed, "json").info("x")


def test_what_a_client_makes_up_is_no_longer_than_a_pipe_takes_at_once() -> None:
    made = Story("X" * 30_000, "/" + "x" * 30_000, 0.0)
    line = written(lambda log: log.request(made, 0))
    assert len(line) < 4096  # PIPE_BUF
    assert json.loads(line)["path"] == "/" + "x" * 1023 + "…"


# -- secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"GET https://h/p?key={CANARY} failed", "GET https://h/p?*** failed"),
        (f"GET https://user:{CANARY}@h/p", "GET https://***@h/p"),
        (f"Authorization: Bearer {CANARY}", "Authorization: ***"),
        (f"proxy-authorization: Custom {CANARY} x", "proxy-authorization: ***"),
        (f"{{'Authorization': 'Hawk id={CANARY}'}}", "{'Authorization': ***"),
        (f"Cookie: a={CANARY}; b=c", "Cookie: ***"),
        (f"Set-Cookie: a={CANARY}", "Set-Cookie: ***"),
        (f"X-Api-Key: {CANARY}", "X-Api-Key: ***"),
        (f"got bearer {CANARY}, sorry", "got bearer ***, sorry"),
        (f"Basic {CANARY}==", "Basic ***"),
        (f"access_token={CANARY}&x=1", "access_token=***&x=1"),
        (f"client_secret={CANARY}", "client_secret=***"),
        (f'{{"access_token": "{CANARY}", "a": 1}}', '{"access_token": "***", "a": 1}'),
        ("renewed token; 2 attempts", "renewed token; 2 attempts"),
        ("the token endpoint refused", "the token endpoint refused"),
        ("Refresh token expired.", "Refresh token expired."),
        ("token revoked (by the user), token unknown", "token revoked (by the user), token unknown"),
        ("Basic authentication failed", "Basic authentication failed"),
        (f"Token {CANARY}", "Token ***"),
        ("Token Hunter", "Token ***"),
        ("token abcdefghijklmnopqrst", "token ***"),
        ("credentials.a.token: the environment variable X is not set",
         "credentials.a.token: the environment variable X is not set"),
        ("right would be { env = … }", "right would be { env = … }"),
        ("word", "word"),
    ],
)  # fmt: skip
def test_texts_are_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "word",
    [
        "x-",
        "a",
        "-",
        "token",
        "x-key",
        "authorization",
        "cookie:",
        "Bearer ",
        "Basic\t\t",
        "://a",
        "= ",
        "?",
        "'",
        "token'",
    ],
)
def test_no_path_is_long_enough_to_keep_the_masking_busy(word: str) -> None:
    text = (word * 1024)[:1023]
    took = []
    for _ in range(3):
        began = time.process_time()
        for end in ("", "=", "'"):
            mask(text + end)
        took.append(time.process_time() - began)
    assert min(took) < 0.03  # some took a quarter of a second


@pytest.mark.parametrize("form", ["json", "human"])
def test_every_text_of_a_line_is_masked(form: Format) -> None:
    bad = f"https://u:{CANARY}@h/?{CANARY}"
    said = written(lambda log: log.request(story(target=bad, notes=[bad], failure=bad, error=bad, method=bad), 0), form)
    said += written(lambda log: log.warning(bad, where=bad, number=3), form)
    assert CANARY not in said
    assert "***" in said


# -- what libraries say ------------------------------------------------------------------------------------


@pytest.fixture
def taken_over() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    Log(stream, "json").take_over_stdlib()
    yield stream
    root.handlers[:], root.level = handlers, level


@pytest.mark.shows_secret
@pytest.mark.parametrize("name", ["httpx", "asyncio", "aiohttp.server", "proxy.stores.file"])
def test_libraries_come_out_masked_from_warnings_on(taken_over: io.StringIO, name: str) -> None:
    logger = logging.getLogger(name)
    logger.info("GET https://h/?%s", CANARY)
    logger.debug(CANARY)
    logger.setLevel(logging.DEBUG)  # as a stranger's credential may have done
    logger.info(CANARY)
    logger.setLevel(logging.NOTSET)
    assert (taken_over.getvalue(), logger.isEnabledFor(logging.INFO)) == ("", False)
    logger.warning("GET https://h/?%s", CANARY)
    try:
        raise ValueError(CANARY)
    except ValueError:
        logger.exception("failed")
    warning, error = (json.loads(line) for line in taken_over.getvalue().splitlines())
    assert (warning["level"], warning["event"]) == ("warning", f"{name}: GET https://h/?***")
    assert (error["level"], error["event"]) == ("error", f"{name}: failed (ValueError)")


def test_a_record_that_can_not_be_formatted(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "%d", (CANARY,), None)
    _Bridge(Log(stream, "json")).emit(record)
    assert json.loads(stream.getvalue())["event"] == "x: a message that can't be formatted"
    assert capsys.readouterr().err == ""


@pytest.mark.shows_secret
async def test_of_what_asyncio_tells_no_argument_and_no_exception_is_repeated(taken_over: io.StringIO) -> None:
    class OddError(Exception):
        def __repr__(self) -> str:
            return CANARY

    async def fail() -> None:
        raise OddError

    def fails(_: object) -> None:
        raise ValueError(CANARY)

    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    task = asyncio.create_task(fail())
    loop.call_soon(fails, CANARY.encode())
    await asyncio.wait([task])
    del task
    gc.collect()
    await asyncio.sleep(0)
    loop.set_debug(False)
    said = "\n".join(json.loads(line)["event"] for line in taken_over.getvalue().splitlines())
    assert "asyncio: Task exception was never retrieved (OddError)\n" in said
    assert re.search(r"asyncio: Exception in callback .*fails\(…\) at .* \(ValueError\)\n", said)
    assert re.search(r"asyncio: Executing <Handle .*fails\(…\) at .* took \d", said)
    assert re.search(r"asyncio: Executing <Task finished .*fail\(…\)", said)
    assert CANARY[:6] not in said


@pytest.mark.shows_secret
def test_exceptions_of_threads_and_finalizers_are_told_without_their_texts(
    taken_over: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    class Ending:
        def __del__(self) -> None:
            raise KeyError(CANARY)

    def fail() -> None:
        raise RuntimeError(CANARY)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    Ending()
    kinds = [json.loads(line)["kind"] for line in taken_over.getvalue().splitlines()]
    assert kinds == ["RuntimeError", "KeyError"]
    assert "test_log.py" in taken_over.getvalue()
    assert CANARY not in taken_over.getvalue() + "".join(capfd.readouterr())


# -- cost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "human"])
def test_a_line_costs_less_than_25_microseconds(form: Format) -> None:
    class Nowhere(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    log, told = Log(Nowhere(), form), story()

    def loop() -> None:
        for _ in range(1000):
            pass

    # On a machine that is slow or busy a loop of 1000 turns, 10 to 15 us elsewhere, takes longer, too.
    assert best(lambda: log.request(told, 0.01)) < max(25e-6, 2 * best(loop))


def best(function: Callable[[], None]) -> float:
    """Seconds for one call, in the best of many short runs."""
    found = 1.0
    for _ in range(40):
        began = time.perf_counter()
        for _ in range(50):
            function()
        found = min(found, (time.perf_counter() - began) / 50)
    return found


def test_a_defect_is_told_by_its_place_and_not_by_its_text() -> None:
    lines = io.StringIO()
    try:
        raise RuntimeError("s3cret")
    except RuntimeError as failure:
        Log(lines, "json").defect(failure)
    assert "RuntimeError" in lines.getvalue()
    assert "test_log.py" in lines.getvalue()
    assert "s3cret" not in lines.getvalue()


def test_warnings_that_python_would_print_are_logged_and_masked(taken_over: io.StringIO) -> None:
    logging.captureWarnings(False)  # pytest has taken back what the fixture did
    Log(taken_over, "json").take_over_stdlib()
    try:
        warnings.showwarning(f"see https://x.test/?token={CANARY}", UserWarning, "x.py", 1, None, "")
    finally:
        logging.captureWarnings(False)
    assert "py.warnings: x.py:1: UserWarning: see https://x.test/?***" in taken_over.getvalue()
    assert CANARY not in taken_over.getvalue()
