"""The real process, as a shell, a service manager and a container see it: what it says, how it ends."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import stat
from pathlib import Path

import pytest

from tests.journeys.processes import ADMIN, CANARY, TOKEN, Held, Run, page, run_to
from tests.journeys.wires import HEAD, OK, PATIENCE, Api, Line, answer, closing

MEASURED = True

# -- life and death ------------------------------------------------------------------------------------


async def test_it_drains_what_is_in_flight(run: Run, api: Api) -> None:
    held = Held()
    api.script = [held]
    process = await run(*run_to(api), env=TOKEN)
    port = await process.port()
    asking = asyncio.create_task(process.ask(port=port))
    await api.came(lambda: api.messages)
    idle = await process.connect(port)
    process.signal(signal.SIGTERM)
    await process.says("stopping")
    assert await idle.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await process.connect(port)
    held.go_on.set()
    seen = await asking
    assert (seen.status, seen.body, seen.get("Connection")) == (200, b"ok", b"close")
    assert await process.ends() == 0


async def test_what_outlives_the_grace_is_told(run: Run, api: Api) -> None:
    api.script = [Held()]
    process = await run(*run_to(api), env={**TOKEN, "COUNTERSIGN_SERVER__SHUTDOWN_GRACE": "0.3"})
    port = await process.port()
    asking = asyncio.create_task(process.ask(port=port))
    await api.came(lambda: api.messages)
    process.signal(signal.SIGINT)
    seen = await asking
    assert (seen.status, seen.error) == (503, "destination_unavailable")
    assert seen.get("Retry-After") is not None
    assert await process.ends() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_it_leaves_no_core_dump(run: Run, api: Api, workers: str) -> None:
    process = await run(*run_to(api), env={**TOKEN, "COUNTERSIGN_SERVER__WORKERS": workers})
    await process.port()
    limits = Path(f"/proc/{process.process.pid}/limits")
    if not limits.exists():
        pytest.skip("there is no /proc")
    assert re.search(r"Max core file size +0 +0 ", limits.read_text())
    process.signal(signal.SIGABRT)
    assert await process.ends() == -signal.SIGABRT


async def test_a_second_signal_ends_it_at_once(run: Run, api: Api) -> None:
    api.script = [Held()]
    process = await run(*run_to(api), env={**TOKEN, "COUNTERSIGN_SERVER__SHUTDOWN_GRACE": "60"})
    client = await process.connect(await process.port())
    await client.send(HEAD)
    await api.came(lambda: api.messages)
    process.signal(signal.SIGTERM)
    await process.says("stopping")
    process.signal(signal.SIGTERM)
    async with asyncio.timeout(3):
        await process.ends()
    await api.lines[0].rest()


async def test_a_hangup_takes_the_file_over_and_a_broken_one_leaves_the_old(run: Run, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"

    def write(text: str) -> None:
        file.write_text('[server]\nlisten = ["127.0.0.1:0"]\n[tokens]\nstore = "memory"\n' + text)

    write(f'[routes.one]\nprefix = "/one"\nupstream = "{api.url}"\n')
    process = await run("run", "--config", str(file))
    port = await process.port()
    one, two = HEAD.replace(b"/x", b"/one"), HEAD.replace(b"/x", b"/two")
    assert [(await process.ask(each, port)).status for each in (one, two)] == [200, 404]
    held = Held()
    api.script = [OK, held]
    kept = await process.connect(port)
    await kept.send(one)
    assert (await kept.answer()).status == 200
    under_way = asyncio.create_task(process.ask(one, port))
    await api.came(lambda: len(api.messages) == 3)

    write(f'[routes.two]\nprefix = "/two"\nupstream = "{api.url}"\n')
    process.signal(signal.SIGHUP)
    await process.says('"reloaded"')
    assert [(await process.ask(each, port)).status for each in (one, two)] == [404, 200]
    await kept.send(two)
    assert (await kept.answer()).status == 200
    held.go_on.set()
    assert (await under_way).status == 200

    write('[routes.two]\nprefix = "two"\nupstrem = "http://127.0.0.1"\n')
    process.signal(signal.SIGHUP)
    await process.says("reload failed")
    assert "routes.two" in process.said
    assert [(await process.ask(each, port)).status for each in (one, two)] == [404, 200]
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0


# -- what is wrong -------------------------------------------------------------------------------------


async def test_a_port_in_use_is_said_in_a_line(run: Run, api: Api) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await run("run", "--to", api.url, "--listen", address)
        assert await process.ends() == 1
    (line,) = process.said.strip().splitlines()
    assert address in line
    assert "in use" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run",), ["countersign.toml"]),
        (("run", "--to", "http://127.0.0.1:1", "--bearer", CANARY), ["env:"]),
        (("run", "--to", "http://127.0.0.1:1", "--listen", "0.0.0.0:0"), ["client_token", "trust_network"]),
        (("rum",), ["run"]),
    ],
)
async def test_what_is_wrong_is_said_with_what_would_be_right(
    run: Run, arguments: tuple[str, ...], words: list[str]
) -> None:
    process = await run(*arguments)
    assert await process.ends() == 2
    assert all(word in process.said for word in words), process.said
    assert CANARY not in process.said + process.out


async def test_all_mistakes_of_a_file_are_said_at_once(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "countersign.toml"
    file.write_text(
        f'[server]\nlisen = ["127.0.0.1:0"]\n[routes.a]\nupstream = "nonsense"\n[routes.b]\nupstream = "https://b"\n'
        f'credential = "nobody"\n[credentials.c]\ntype = "bearer"\ntoken = "{CANARY}"\nextra = "{CANARY}"\n'
    )
    file.chmod(0o600)
    process = await run("run")
    assert await process.ends() == 2
    for word in (
        "countersign.toml",
        "server.lisen",
        "listen",
        "routes.a.upstream",
        "routes.b.credential",
        "credentials.c.extra",
    ):
        assert word in process.said
    assert CANARY not in process.said


# -- listeners -----------------------------------------------------------------------------------------


async def test_a_unix_socket_is_for_its_owner_only_and_goes_with_the_process(
    run: Run, api: Api, tmp_path: Path
) -> None:
    path = tmp_path / "my.sock"
    process = await run("run", "--to", api.url, "--listen", f"unix:{path}")
    await process.says(r"listening on unix:")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    client = Line(*await asyncio.open_unix_connection(path))
    await client.send(HEAD)
    assert (await client.answer()).body == b"ok"
    client.close()
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0
    assert not path.exists()


async def test_beyond_loopback_it_wants_a_token_of_its_clients(run: Run, api: Api) -> None:
    env = {"COUNTERSIGN_SERVER__CLIENT_TOKEN__ENV": "LET_IN", "LET_IN": CANARY}
    process = await run("run", "--to", api.url, "--listen", "0.0.0.0:0", env=env)
    port = int((await process.says(r"listening on http://\S+:(\d+)"))[1])
    assert (await process.ask(port=port)).status == 407
    request = HEAD.replace(b"\r\n\r\n", f"\r\nX-Countersign-Token: {CANARY}\r\n\r\n".encode())
    assert (await process.ask(request, port)).status == 200
    assert CANARY not in process.said


# -- secrets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", ["", "1"])
async def test_a_secret_shows_nowhere(run: Run, api: Api, debug: str) -> None:
    api.script = [OK, answer(401, b""), answer(500, b""), closing()]
    env = {**TOKEN, **ADMIN, "COUNTERSIGN_RETRY__ATTEMPTS": "1", "PYTHONASYNCIODEBUG": debug, "PYTHONDEVMODE": debug}
    process = await run(*run_to(api), env=env)
    port = await process.port()
    assert api.url in process.said or await process.says(api.url)
    admin, token = await process.admin()
    for target in (b"/ok", b"/401", b"/500", b"/closed", b"/x?key=" + CANARY.encode()):
        request = HEAD.replace(b"/x", target, 1)
        seen = await process.ask(request.replace(b"\r\n\r\n", f"\r\nCookie: {CANARY}\r\n\r\n".encode()), port)
        assert CANARY.encode() not in seen.raw + seen.body
    for path in (b"/", b"/metrics", b"/readyz", b"/healthz", b"/api/status"):
        shown = await process.ask(HEAD.replace(b"/x", path + b"?token=" + token.encode(), 1), admin)
        assert shown.status == 200
        assert CANARY.encode() not in shown.body
    command_line = Path(f"/proc/{process.process.pid}/cmdline")
    if command_line.exists():
        assert CANARY.encode() not in command_line.read_bytes()
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0
    assert process.said.count('"status": 200') >= 1 or process.said.count('"status":200') >= 1
    assert CANARY not in process.said + process.out


# -- the admin listener --------------------------------------------------------------------------------


async def test_the_admin_listener_tells_those_who_may_know(run: Run, api: Api) -> None:
    process = await run(*run_to(api), env={**TOKEN, **ADMIN})
    port, token = await process.admin()
    assert (await process.ask()).status == 200
    healthy = await process.ask(page("/healthz"), port)
    assert (healthy.status, healthy.body.strip()) == (200, b"ok")
    assert (await process.ask(page("/readyz"), port)).status == 200
    metrics = await process.ask(page("/metrics"), port)
    assert metrics.status == 200
    assert re.search(rb'countersign_requests_total\{[^}]*route="default"[^}]*\} 1', metrics.body)
    for name in (b"request_duration_seconds", b"requests_in_progress", b"upstream_attempts_total", b"replays_total"):
        assert b"countersign_" + name in metrics.body
    without = await process.ask(page("/"), port)
    assert (without.status, without.error) == (401, "http_request_denied")
    assert (await process.ask(page("/?token=wrong"), port)).status == 401
    assert (await process.ask(page(f"/?token={token}"), port)).status == 200
    assert (await process.ask(page("/", f"Authorization: Bearer {token}"), port)).status == 200
    assert (await process.ask(page("/healthz", host="evil.example"), port)).status == 421
    assert (await process.ask(page("/metrics", "Origin: http://evil.example"), port)).status == 403
    assert (await process.ask(page("/nothing"), port)).status == 401
    assert (await process.ask(page(f"/nothing?token={token}"), port)).status == 404
    assert (await process.ask(page("/healthz").replace(b"GET", b"POST", 1), port)).status == 405
    there = {"COUNTERSIGN_SERVER__ADMIN": f"127.0.0.1:{port}"}
    assert await (await run("health", env=there)).ends() == 0
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0
    assert await (await run("health", env=there)).ends() == 1


async def test_readiness_says_which_credential_is_missing(run: Run, api: Api) -> None:
    process = await run("run", "--to", api.url, "--bearer", "env:NOT_THERE", "--listen", "127.0.0.1:0")
    port, _ = await process.admin()
    seen = await process.ask(page("/readyz"), port)
    assert seen.status == 503
    assert b"default" in seen.body
    failed = await process.ask()
    assert (failed.status, failed.error) == (502, "proxy_configuration_error")
    await process.says("NOT_THERE")
    assert api.messages == []


# -- the demo ------------------------------------------------------------------------------------------


async def test_the_demos_curl_lines_work_as_they_are_printed(run: Run) -> None:
    process = await run("demo", "--listen", "127.0.0.1:0")
    assert process.process.stdout
    lines: list[str] = []
    async with asyncio.timeout(PATIENCE * 2):
        while "Ctrl-C" not in (line := (await process.process.stdout.readline()).decode()):
            assert line
            if line.strip().startswith("curl "):
                lines.append(line.strip())
    assert len(lines) >= 7

    async def paste(line: str) -> str:
        shell = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(40):
            out, err = await shell.communicate()
        assert (shell.returncode, err) == (0, b""), line
        return out.decode()

    told = dict(zip(lines, await asyncio.gather(*map(paste, lines)), strict=True))
    for line, text in told.items():
        if " -sI " in line:
            statuses = re.findall(r"^HTTP/1\.1 (\d+)", text, re.MULTILINE)
            assert set(statuses) == {"200"}, text
            assert len(statuses) >= 5
        else:
            assert text, line
            assert '"status": 4' not in text
    of = {name: text for line, text in told.items() for name in re.findall(r"/(\w+)/hello", line) if " -sI " in line}
    assert "renewed token" in of["oauth2"]
    assert "waited" in of["throttled"]
    events = next(text for line, text in told.items() if "/events/" in line)
    assert events.count("event: tick") == 5
    process.signal(signal.SIGINT)
    assert await process.ends() == 0
    assert "demo-bearer-token" not in process.said
