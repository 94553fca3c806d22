from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
import uvloop

from proxy.process import LIMIT_ERRORS, ProgramError, ProgramTimeout, run

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


async def test_what_it_prints_and_how_it_ends() -> None:
    printed = await run(["sh", "-c", "echo out; echo err >&2; exit 3"], 10, alone=True)
    assert (printed.code, printed.output, printed.errors) == (3, b"out\n", b"err\n")


async def test_stderr_is_lost_unless_it_is_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    printed = await run(["sh", "-c", "echo err >&2"], 10)
    assert (printed.errors, "".join(capfd.readouterr())) == (b"", "")


async def test_of_a_long_stderr_the_end_is_kept() -> None:
    printed = await run(["sh", "-c", "yes canary-x | head -c 90000 >&2; echo why >&2"], 10, alone=True)
    assert len(printed.errors) == LIMIT_ERRORS
    assert printed.errors.endswith(b"\nwhy\n")


async def test_it_gets_no_input_and_no_shell() -> None:
    assert (await run(["cat"], 10)).output == b""
    assert (await run(["printf", "%s", "$HOME;x"], 10)).output == b"$HOME;x"


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("command", [["/no/such/program"], ["/"], ["echo", "a\x00"], ["echo", "\ud800"]])
async def test_what_can_not_be_started(command: list[str], *, alone: bool) -> None:
    with pytest.raises(ProgramError, match="can't be started: "):
        await run(command, 10, alone=alone)


@pytest.mark.parametrize("alone", [True, False])
async def test_one_that_prints_without_end_is_killed(*, alone: bool) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(ProgramError, match="printed too much"):
            await run(["yes"], 10, alone=alone)


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def started(file: Path) -> list[int]:
    """Numbers of the two processes that note themselves there."""
    while not file.exists() or file.read_text().count("\n") < 2:
        await asyncio.sleep(0.01)
    return [int(line) for line in file.read_text().split()]


async def ended(pid: int) -> None:
    async with asyncio.timeout(10):
        while is_alive(pid):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("loop", list(LOOPS))
def test_when_time_is_over_all_that_it_started_is_killed(loop: str, tmp_path: Path) -> None:
    script = (
        f"(echo $$ ; exec sh -c 'echo $$; exec sleep 60') >> {tmp_path}/pids & echo $$ >> {tmp_path}/pids; sleep 60"
    )

    async def main() -> None:
        with pytest.raises(ProgramTimeout, match="took longer than 0 s"):
            await run(["sh", "-c", script], 0.4, alone=True)
        for pid in await started(tmp_path / "pids"):
            await ended(pid)

    begun = time.monotonic()
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())
    assert time.monotonic() - begun < 10


async def test_who_goes_away_kills_it_all(tmp_path: Path) -> None:
    script = f"sh -c 'echo $$; exec sleep 60' >> {tmp_path}/pids & echo $$ >> {tmp_path}/pids; wait"
    running = asyncio.create_task(run(["sh", "-c", script], 60, alone=True))
    pids = await started(tmp_path / "pids")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for pid in pids:
        await ended(pid)


async def test_what_it_leaves_running_when_it_is_well_is_not_killed(tmp_path: Path) -> None:
    script = f"sleep 60 >/dev/null 2>&1 & echo $! > {tmp_path}/pid; echo ok"
    assert (await run(["sh", "-c", script], 10, alone=True)).output == b"ok\n"
    pid = int((tmp_path / "pid").read_text())
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
