from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvloop

from proxy.errors import SecretError
from proxy.secrets import _kept
from proxy.secrets import command as module
from proxy.secrets.command import Command

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Runs:
    """A shell script that notes how often it ran."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def command(self, script: str) -> tuple[str, ...]:
        return ("sh", "-c", f'echo x >> "$0"; {script}', str(self._path))

    @property
    def count(self) -> int:
        return len(self._path.read_text().split()) if self._path.exists() else 0


class Ticking:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    ticking = Ticking()
    monkeypatch.setattr(_kept, "time", SimpleNamespace(monotonic=lambda: ticking.now))
    return ticking


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


async def test_what_it_prints_is_kept_for_its_ttl(runs: Runs, clock: Ticking) -> None:
    source = Command(command=runs.command("echo secret"), ttl=60)
    assert [await source.get(), await source.get()] == ["secret"] * 2
    assert runs.count == 1
    clock.now += 60
    assert await source.get() == "secret"
    assert runs.count == 2


async def test_it_runs_once_however_many_want_it(runs: Runs) -> None:
    source = Command(command=runs.command("echo secret"), ttl=0)
    assert set(await asyncio.gather(*(source.get() for _ in range(50)))) == {"secret"}
    assert runs.count == 1
    await source.get()
    assert runs.count == 2


async def test_who_asked_first_may_go_away(runs: Runs) -> None:
    source = Command(command=runs.command("echo secret"))
    first = asyncio.create_task(source.get())
    second = asyncio.create_task(source.get())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "secret"
    assert (first.cancelled(), runs.count) == (True, 1)


@pytest.mark.parametrize(
    ("script", "problem"),
    [("exit 3", "the command sh failed with exit code 3"), ("true", "the command sh is empty")],
)
async def test_a_failure_is_reported_to_all_until_the_pause_is_over(
    runs: Runs, clock: Ticking, script: str, problem: str
) -> None:
    source = Command(command=runs.command(script))
    together = await asyncio.gather(*(source.get() for _ in range(50)), return_exceptions=True)
    assert {str(failure) for failure in together} == {problem}
    for _ in range(50):
        with pytest.raises(SecretError, match=f"^{problem}$"):
            await source.get()
    assert runs.count == 1


async def test_output_without_the_field_that_is_picked_is_a_failure(runs: Runs, clock: Ticking, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("{}")
    source = Command(command=runs.command(f"cat {tmp_path}/out"), json="token")
    for _ in range(2):
        with pytest.raises(SecretError, match="has no JSON field token"):
            await source.get()
    assert runs.count == 1
    clock.now += 1
    (tmp_path / "out").write_text('{"token": "canary"}')
    assert await source.get() == "canary"


async def test_what_it_says_on_stderr_is_shown_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SecretError) as caught:
        await Command(command=("sh", "-c", "echo canary >&2; exit 1")).get()
    assert "canary" not in str(caught.value) + "".join(capfd.readouterr())


async def test_it_has_no_standard_input() -> None:
    assert await Command(command=("sh", "-c", "cat; echo end")).get() == "end"


async def test_words_may_be_one_text_which_no_shell_sees() -> None:
    source = Command.model_validate({"command": "printf '%s' 'a b;$HOME'"})
    assert source.command == ("printf", "%s", "a b;$HOME")
    assert await source.get() == "a b;$HOME"
    with pytest.raises(ValueError, match="No closing quotation"):
        Command.model_validate({"command": "'a"})


@pytest.mark.parametrize("word", ["a\x00", "a\ud800"])
async def test_words_that_no_system_takes_are_said(word: str) -> None:
    with pytest.raises(SecretError, match="can't be started"):
        await Command(command=("echo", word)).get()


async def test_more_than_a_secret_is_refused_while_it_is_printed() -> None:
    async with asyncio.timeout(20):
        with pytest.raises(SecretError, match="printed too much"):
            await Command(command=("yes",)).get()


@pytest.mark.parametrize("loop", list(LOOPS))
def test_one_that_hangs_is_killed_and_its_children_are_not_waited_for(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    source = Command(command=("sh", "-c", "sleep 5 & sleep 5; echo secret"))

    async def main() -> None:
        with pytest.raises(SecretError, match="the command sh took longer than 0 s"):
            await source.get()

    started = time.monotonic()
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())
    assert time.monotonic() - started < 4


async def test_one_that_is_cancelled_is_killed() -> None:
    reading, writing = os.pipe()
    source = Command(command=("sh", "-c", f"echo $$ > /proc/{os.getpid()}/fd/{writing}; exec sleep 60"))
    waiting = asyncio.create_task(source.get())
    pid = int(await asyncio.to_thread(os.read, reading, 100))
    os.close(reading)
    os.close(writing)
    assert source._asking is not None
    source._asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_byte_order_mark_is_not_part_of_what_it_prints() -> None:
    assert await Command(command=("printf", r"\357\273\277canary")).get() == "canary"
    with pytest.raises(SecretError, match="printed something that is UTF-16 text; expected UTF-8"):
        await Command(command=("printf", r"\377\376a\000")).get()
