"""Several workers on the same addresses: who dies, who goes on, and what clients notice of it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.journeys.processes import ADMIN, ADMIN_TOKEN, CANARY, TOKEN, Held, Process, Run, page, run_to
from tests.journeys.wires import HEAD, PATIENCE, Api, Line

MEASURED = True

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

UNNAMED = {**TOKEN, "COUNTERSIGN_SERVER__WORKERS": "2"}
TWO = {**UNNAMED, **ADMIN}


def workers(process: Process) -> list[int]:
    """The ids of the workers that there are now."""
    pid = process.process.pid
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    with suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def refuses(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


async def comes(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def status(process: Process) -> dict[str, Any]:
    port, token = await process.admin()
    return json.loads((await process.ask(page(f"/api/status?token={token}"), port)).body)  # type: ignore[no-any-return]


async def requests_counted(process: Process) -> int:
    port, _ = await process.admin()
    metrics = (await process.ask(page("/metrics"), port)).body.decode()
    return sum(
        int(float(each)) for each in re.findall(r"^countersign_requests_total\{.*\} (\S+)$", metrics, re.MULTILINE)
    )


class Load:
    """Clients who come one after the other, each with a connection of its own, until the end of the block.

    Attributes:
        answers: statuses; 0 of those who got none.

    """

    def __init__(self, process: Process, port: int, clients: int = 4) -> None:
        self._process, self._port, self._clients = process, port, clients
        self._stopped = False
        self.answers: list[int] = []

    async def _client(self) -> None:
        while not self._stopped:
            line = None
            try:
                line = await self._process.connect(self._port)
                await line.send(HEAD)
                self.answers.append((await line.answer()).status)
            except (OSError, asyncio.IncompleteReadError):
                self.answers.append(0)
            finally:
                if line is not None:
                    line.close()

    async def more(self, count: int = 30) -> None:
        """Wait until so many more have been answered."""
        until = len(self.answers) + count
        await comes(lambda: len(self.answers) >= until)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)


async def spread(process: Process, port: int, api: Api, request: bytes = HEAD) -> list[Line]:
    """Clients with a request under way, some at each of two workers."""
    api.always = Held()
    lines = []
    for _ in range(24):  # the odds that all come to the same one are 1 to 8 million
        lines.append(await process.connect(port))
        await lines[-1].send(request)
    await api.came(lambda: len(api.messages) == len(lines))
    return lines


# -- one service ---------------------------------------------------------------------------------------


async def test_they_are_one_service_on_one_port(run: Run, api: Api) -> None:
    process = await run(*run_to(api), env=TWO)
    port = await process.port()
    assert len(workers(process)) == 2
    async with Load(process, port) as load:
        await load.more(60)
    assert set(load.answers) == {200}
    for _ in range(6):  # whichever of them answers
        assert await requests_counted(process) == len(load.answers)
    kept = [await process.connect(port) for _ in range(20)]
    await asyncio.sleep(0.05)
    told = await status(process)
    assert (told["workers"], told["connections"]) == (2, 20)
    assert told["requests"] == [{"route": "default", "method": "GET", "status": "200", "count": len(load.answers)}]
    for line in kept:
        line.reset()
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0
    assert process.said.count("listening on") == process.said.count("status page") == 1
    logged = [json.loads(line) for line in process.said.splitlines() if line.startswith("{")]
    assert len([line for line in logged if line["event"] == "request"]) == len(load.answers)


@pytest.mark.parametrize("second", ["1", "2"])
async def test_a_port_that_is_taken_is_refused_by_another_run_too(run: Run, api: Api, second: str) -> None:
    process = await run(*run_to(api), env=TWO)
    port = await process.port()
    again = ("run", "--to", api.url, "--listen", f"127.0.0.1:{port}")
    other = await run(*again, env={"COUNTERSIGN_SERVER__WORKERS": second})
    assert await other.ends() == 1
    (line,) = other.said.strip().splitlines()
    assert f"127.0.0.1:{port} is in use by another program" in line
    assert (await process.ask(port=port)).status == 200


async def test_a_port_of_one_worker_is_refused_to_several(run: Run, api: Api) -> None:
    process = await run(*run_to(api), env=TOKEN)
    port = await process.port()
    other = await run("run", "--to", api.url, "--listen", f"127.0.0.1:{port}", env=TWO)
    assert await other.ends() == 1
    assert "is in use by another program" in other.said


async def test_every_kind_of_address_is_served_by_all(run: Run, api: Api, tmp_path: Path) -> None:
    file, path = tmp_path / "c.toml", tmp_path / "s"
    file.write_text(
        f'[server]\nworkers = 3\nlisten = ["127.0.0.1:0", "unix:{path}"]\n[tokens]\nstore = "memory"\n'
        f'[routes.a]\nupstream = "{api.url}"\n[routes.b]\nlisten = "localhost:0"\nupstream = "{api.url}/b"\n'
    )
    process = await run("run", "--config", str(file))
    port = await process.port()
    own = int((await process.says(r"listening on http://localhost:(\d+)"))[1])
    await process.says("status page")
    assert len(workers(process)) == 3
    for _ in range(9):
        line = Line(*await asyncio.open_unix_connection(path))
        await line.send(HEAD)
        assert (await line.answer()).status == 200
        line.close()
        assert [(await process.ask(port=each)).status for each in (port, own)] == [200, 200]
    assert {message.target for message in api.messages} == {b"/x", b"/b/x"}
    process.signal(signal.SIGINT)
    assert await process.ends() == 0
    assert not path.exists()


async def test_no_secret_shows_in_what_the_system_tells_of_a_worker(run: Run, api: Api, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    flags = ("run", "--to", api.url, "--bearer", f"file:{secret}", "--listen", "127.0.0.1:0")
    process = await run(*flags, env={"COUNTERSIGN_SERVER__WORKERS": "2"})
    assert (await process.ask()).status == 200
    assert api.messages[0].get("Authorization") == f"Bearer {CANARY}".encode()
    for pid in (process.process.pid, *workers(process)):
        for name in ("cmdline", "environ"):
            assert CANARY.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()


# -- beginning and ending ------------------------------------------------------------------------------


async def test_a_mistake_that_only_a_worker_can_find_is_told_once(run: Run, api: Api) -> None:
    env = {**UNNAMED, "COUNTERSIGN_SERVER__ADMIN_TOKEN__ENV": "NOT_THERE"}
    process = await run(*run_to(api), env=env)
    assert await process.ends() == 2
    (line,) = process.said.strip().splitlines()
    assert line == "error: server.admin_token: the environment variable NOT_THERE is not set"


async def test_all_of_them_drain(run: Run, api: Api) -> None:
    process = await run(*run_to(api), env=TWO)
    port = await process.port()
    lines = await spread(process, port, api)
    process.signal(signal.SIGTERM)
    await process.says("stopping")

    await comes(lambda: refuses(port))
    assert isinstance(api.always, Held)
    api.always.go_on.set()
    assert {(await line.answer()).status for line in lines} == {200}
    assert await process.ends() == 0


async def test_a_second_signal_ends_all_of_them_at_once(run: Run, api: Api) -> None:
    process = await run(*run_to(api), env={**TWO, "COUNTERSIGN_SERVER__SHUTDOWN_GRACE": "60"})
    await spread(process, await process.port(), api)
    pids = workers(process)
    process.signal(signal.SIGTERM)
    await process.says("stopping")
    process.signal(signal.SIGTERM)
    async with asyncio.timeout(4):
        assert await process.ends() == 0
    assert not any(map(lives, pids))


async def test_what_a_terminal_sends_to_all_of_them_counts_once(run: Run, api: Api) -> None:
    process = await run(*run_to(api), env={**TWO, "COUNTERSIGN_SERVER__SHUTDOWN_GRACE": "60"})
    lines = await spread(process, await process.port(), api)
    for pid in (*workers(process), process.process.pid):
        os.kill(pid, signal.SIGINT)
    await process.says("stopping")
    assert isinstance(api.always, Held)
    api.always.go_on.set()
    assert {(await line.answer()).status for line in lines} == {200}
    assert await process.ends() == 0


async def test_health_asks_whichever_answers(run: Run, api: Api) -> None:
    process = await run(*run_to(api), env=TWO)
    port, _ = await process.admin()
    there = {"COUNTERSIGN_SERVER__ADMIN": f"127.0.0.1:{port}"}
    assert await (await run("health", "--ready", env=there)).ends() == 0
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0
    assert await (await run("health", env=there)).ends() == 1


# -- dying ---------------------------------------------------------------------------------------------


async def test_a_worker_that_is_killed_is_replaced_while_the_others_go_on(run: Run, api: Api) -> None:
    process = await run(*run_to(api, "--no-access-log"), env=TWO)
    port = await process.port()
    async with Load(process, port) as load:
        await load.more()
        for killed in range(1, 3):
            before = workers(process)
            os.kill(before[0], signal.SIGKILL)
            await process.says("(?s)" + "was ended by SIGKILL.*" * killed)
            await load.more()
            await process.says("(?s)" + "is started again.*" * killed)
            await load.more()
            assert len(workers(process)) == 2
            assert before[0] not in workers(process)
    lost = load.answers.count(0)  # those that it had taken
    assert lost <= 8
    assert set(load.answers) <= {0, 200}
    pauses = [json.loads(line)["pause"] for line in process.said.splitlines() if "SIGKILL" in line]
    assert pauses == [0.0, 0.0] or pauses == [0.0, 1.0]  # the same one twice, or both
    assert await requests_counted(process) <= len(load.answers)


async def test_others_take_the_clients_of_one_that_is_away(run: Run, api: Api) -> None:
    process = await run(*run_to(api, "--no-access-log"), env=TWO)
    port = await process.port()
    survivor = workers(process)[1]
    for pause in (0.0, 1.0, 2.0):
        (victim,) = set(workers(process)) - {survivor}
        os.kill(victim, signal.SIGKILL)
        await process.says(f'"pid": {victim}, "pause": {pause}')
        await comes(lambda: len(workers(process)) == 2 - (pause > 1))  # noqa: B023  # awaited here
    assert workers(process) == [survivor]
    async with Load(process, port) as load, asyncio.timeout(1.5):
        await load.more(40)
    assert set(load.answers) == {200}
    assert workers(process) == [survivor]


async def test_a_worker_that_is_told_to_end_finishes_what_it_has(run: Run, api: Api) -> None:
    process = await run(*run_to(api, "--no-access-log"), env=TWO)
    port = await process.port()
    lines = await spread(process, port, api)
    leaving, staying = workers(process)
    os.kill(leaving, signal.SIGTERM)
    await asyncio.sleep(0.1)
    assert isinstance(api.always, Held)
    api.always.go_on.set()
    async with Load(process, port) as load:
        assert {(await line.answer()).status for line in lines} == {200}
        await process.says("a worker leaves")
        await process.says("is started again")
        await load.more()
    assert set(load.answers) == {200}
    assert staying in workers(process)


async def test_one_that_can_t_start_anew_is_tried_again(run: Run, api: Api, tmp_path: Path) -> None:
    secret = tmp_path / "admin"
    secret.write_text("hush")
    process = await run(
        *run_to(api, "--no-access-log"), env={**UNNAMED, "COUNTERSIGN_SERVER__ADMIN_TOKEN__FILE": str(secret)}
    )
    port = await process.port()
    secret.unlink()
    os.kill(workers(process)[0], signal.SIGKILL)
    await process.says(r"could not start: server\.admin_token: .*No such file")
    async with Load(process, port) as load:
        await load.more(20)
    assert set(load.answers) == {200}
    secret.write_text("hush")
    await process.says("(?s)" + "is started again.*" * 2)
    await comes(lambda: len(workers(process)) == 2)
    async with Load(process, port) as load:
        await load.more(20)
    assert set(load.answers) == {200}


async def test_without_their_supervisor_they_end_and_the_port_is_free(run: Run, api: Api) -> None:
    process = await run(*run_to(api), env=TWO)
    port = await process.port()
    admin, _ = await process.admin()
    lines = await spread(process, port, api)
    pids = workers(process)
    process.signal(signal.SIGKILL)
    await comes(lambda: process.process.returncode is not None)

    async def again() -> Process:
        while True:
            made = await run(
                "run", "--to", api.url, "--listen", f"127.0.0.1:{port}",
                env={**TWO, "COUNTERSIGN_SERVER__ADMIN": f"127.0.0.1:{admin}"},
            )  # fmt: skip
            with suppress(AssertionError):
                await made.port()
                return made

    other = await asyncio.wait_for(again(), PATIENCE)
    assert all(map(lives, pids))
    assert isinstance(api.always, Held)
    api.always.go_on.set()
    assert {(await line.answer()).status for line in lines} == {200}
    await comes(lambda: not any(map(lives, pids)))
    assert (await other.ask(port=port)).status == 200


async def test_one_that_hangs_is_told_by_readyz_and_not_forgotten_by_metrics(run: Run, api: Api) -> None:
    process = await run(*run_to(api), env=TWO)
    port = await process.port()
    async with Load(process, port) as load:
        await load.more(40)
    counted = await requests_counted(process)
    assert counted == len(load.answers)
    admin, _ = await process.admin()
    hanging = workers(process)[1]
    os.kill(hanging, signal.SIGSTOP)
    try:
        ready = asyncio.create_task(process.ask(page("/readyz"), admin))
        assert await requests_counted(process) == counted
        assert (await process.ask(page("/healthz"), admin)).status == 200
        assert (await status(process))["workers"] == 1
        os.kill(hanging, signal.SIGKILL)  # it needs no patience to see what comes of it
        seen = await ready
        assert (seen.status, json.loads(seen.body)) == (200, {"ready": True, "routes": {}})
    finally:
        with suppress(ProcessLookupError):
            os.kill(hanging, signal.SIGCONT)
    await process.says("is started again")
    assert await requests_counted(process) == counted


async def test_readyz_speaks_for_all(run: Run, api: Api) -> None:
    flags = ("run", "--to", api.url, "--bearer", "env:NOT_THERE", "--listen", "127.0.0.1:0")
    process = await run(*flags, env={"COUNTERSIGN_SERVER__WORKERS": "2"})
    port, _ = await process.admin()
    seen = await process.ask(page("/readyz"), port)
    assert seen.status == 503
    assert list(json.loads(seen.body)["routes"]) == ["default"]
    await process.says("NOT_THERE")
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0
    assert process.said.count("NOT_THERE") == 1


# -- reloading -----------------------------------------------------------------------------------------


async def test_a_reload_under_load_drops_nobody(run: Run, api: Api, tmp_path: Path) -> None:
    file, path = tmp_path / "c.toml", tmp_path / "s"

    def write(listen: str, text: str) -> None:
        file.write_text(f'[server]\nworkers = 2\nlisten = [{listen}]\n[tokens]\nstore = "memory"\n{text}')

    route = f'upstream = "{api.url}"\n'
    write('"127.0.0.1:0"', f'[routes.one]\nprefix = "/"\n{route}')
    process = await run("run", "--config", str(file), "--no-access-log", env=ADMIN)
    port = await process.port()
    await process.says("status page")
    pids = workers(process)
    async with Load(process, port) as load:
        await load.more()
        for number in range(1, 4):
            write(f'"127.0.0.1:0", "unix:{path}"', f'[routes.one]\nprefix = "/"\n{route}[routes.n{number}]\n{route}'
                  f'prefix = "/{number}"\nallow = ["GET /only"]\n')  # fmt: skip
            process.signal(signal.SIGHUP)
            await process.says("(?s)" + '"reloaded".*' * number)
            asked = [await process.ask(HEAD.replace(b"/x", b"/%d/x" % number), port) for _ in range(12)]
            assert {seen.status for seen in asked} == {403}
            await load.more()
        unix = Line(*await asyncio.open_unix_connection(path))
        await unix.send(HEAD)
        assert (await unix.answer()).status == 200
        unix.close()
        write('"127.0.0.1:0"', f'[routes.one]\nprefix = "/"\n{route}')
        process.signal(signal.SIGHUP)
        await comes(lambda: not path.exists())
        await load.more()
    assert set(load.answers) == {200}
    assert workers(process) == pids
    assert (await status(process))["reload"] == "done"


async def test_a_reload_is_for_all_or_for_none(run: Run, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    head = '[server]\nworkers = 2\nlisten = ["127.0.0.1:0"]\n'
    route = f'upstream = "{api.url}"\n'
    token = f'admin_token = {{ literal = "{ADMIN_TOKEN}" }}\n'
    file.write_text(f'{head}{token}[tokens]\nstore = "memory"\n[routes.one]\nprefix = "/one"\n{route}')
    file.chmod(0o600)
    process = await run("run", "--config", str(file), "--no-access-log")
    port = await process.port()
    await process.says("status page")
    broken = (
        f'{head}nonsense = 1\n[routes.two]\nprefix = "/two"\n{route}',
        f'{head}trust_network = true\n[routes.two]\nprefix = "/two"\nlisten = "192.0.2.1:1"\n{route}',
        f'{head}admin_token = {{ env = "NOT_THERE" }}\n[routes.two]\nprefix = "/two"\n{route}',
    )
    for number, text in enumerate(broken, 1):
        file.write_text(text)
        process.signal(signal.SIGHUP)
        await process.says("(?s)" + "reload failed.*" * number)
        for _ in range(8):
            assert (await process.ask(HEAD.replace(b"/x", b"/one"), port)).status == 200
            assert (await process.ask(HEAD.replace(b"/x", b"/two"), port)).status == 404
    assert (await status(process))["reload"].startswith("failed: server.admin_token")
    # One that starts now has what holds, and not what was refused.
    os.kill(workers(process)[0], signal.SIGKILL)
    await process.says("is started again")
    await comes(lambda: len(workers(process)) == 2)
    for _ in range(8):
        assert (await process.ask(HEAD.replace(b"/x", b"/one"), port)).status == 200
