"""Serving until told to stop, from a file and from flags alone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from proxy.app import App
from proxy.cli.run import announce, run_loop
from proxy.transport.loop import Loop
from tests.conftest import Start

from .conftest import Run, line_with, process

CANARY = "c4n4ry-s3cr3t"


# -- flags -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--to", "https://x", "--config", "x"], "right would be --config or --to"),
        (
            ["--to", "https://x", "--bearer", "env:A", "--basic", "u:env:B"],
            "--bearer and --basic both set Authorization",
        ),
        (
            ["--to", "https://x", "--header", "A: env:A", "--header", "a: env:B"],
            "--header: two of them set the same name",
        ),
        (["--to", "https://x", "--query", "a=env:A", "--query", "a=env:B"], "--query: two of them set the same name"),
        (["--to", "https://x", "--bearer", ""], "would stand in the process list"),
        (["--to", "https://x", "--bearer", CANARY], "would stand in the process list"),
        (["--to", "https://x", "--bearer", f"cmd:'{CANARY}"], "a quote without its end"),
        (["--to", "https://x", "--basic", CANARY], "--basic: right would be USER:REF"),
        (["--to", "https://x", "--basic", f"u:{CANARY}"], "would stand in the process list"),
        (["--to", "https://x", "--header", CANARY], "--header: right would be NAME:REF"),
        (["--to", "https://x", "--query", CANARY], "--query: right would be NAME=REF"),
        (["--bearer", "env:A"], "right would be --to URL, too"),
        (["--query", "a=env:A"], "right would be --to URL, too"),
        (["--to", ""], "command line: --to: routes.default.upstream: not an http or https URL"),
        (["--to", f"https://u:{CANARY}@x"], "command line: --to: routes.default.upstream: holds a user name"),
        (["--to", "http://api.example.com"], "the upstream is plain http beyond this machine"),
        (["--to", "https://x", "--listen", "x"], "command line: --listen: server.listen.0: not an address"),
        (["--to", "https://x", "--listen", "0.0.0.0:80"], "--listen: server.listen: is beyond this machine"),
        (["--to", "https://x", "--admin", "x:"], 'command line: --admin: server.admin: "x:" is not an address'),
    ],
)
def test_flags_that_are_wrong(run: Run, arguments: list[str], text: str) -> None:
    found = run("run", *arguments)
    assert (found.code, found.out) == (2, "")
    assert text in found.err
    assert CANARY not in found.err


# -- what is said at start ---------------------------------------------------------------------------------


def say(app: App) -> None:
    announce(app.settings, app.addresses, app.status_url)


async def test_the_start_names_listeners_routes_and_the_page(
    start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start({
        "server": {"listen": ["127.0.0.1:0", "0.0.0.0:0"], "admin": "127.0.0.1:0", "trust_network": True},
        "routes": {"a": {"upstream": "https://x/y"}, "longer": {"prefix": "/l", "upstream": "https://z"}},
    })  # fmt: skip
    say(running.app)
    found = capsys.readouterr()
    assert found.out == ""
    first, second = running.app.addresses
    assert found.err.splitlines() == [
        f"listening on {first}",
        f"listening on {second}",
        "open to other machines: 0.0.0.0:0",
        "  a       / -> https://x/y",
        "  longer  /l/ -> https://z",
        f"status page: {running.admin_url}/",
        "  its random token is shown on a terminal only; to open it, set server.admin_token",
    ]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    say(running.app)
    assert capsys.readouterr().err.splitlines()[-1] == f"status page: {running.app.status_url}"
    assert "?token=" in str(running.app.status_url)


async def test_what_is_said_at_start_controls_no_terminal(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    say((await start({"routes": {"a\x1b[2J\u202e": {"prefix": "/a", "upstream": "https://x"}}})).app)
    assert "  a\\x1b[2J\\u202e" in capsys.readouterr().err


async def test_without_an_admin_listener_there_is_no_page(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    say((await start({"routes": {"a": {"upstream": "https://x"}}})).app)
    assert "status page" not in capsys.readouterr().err


# -- processes ---------------------------------------------------------------------------------------------


class Api(BaseHTTPRequestHandler):
    """Answers with the Authorization that it was sent."""

    def do_GET(self) -> None:
        body = self.headers.get("Authorization", "").encode()
        if "X-Key" in self.headers:
            body += f"|{self.headers['X-Key']}|{self.headers['X-Other']}|{self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Api)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def get(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=20) as answer:
        return bytes(answer.read())


def test_no_file_is_needed(api: str) -> None:
    with process(
        "run", "--to", api, "--bearer", "env:T0K3N", "--listen", "127.0.0.1:0", "--log-format", "json",
        T0K3N=CANARY, COUNTERSIGN_SERVER__ADMIN="127.0.0.1:0",
    ) as command:  # fmt: skip
        url = line_with(command.stderr, "listening on ").split()[-1]
        assert get(f"{url}/x?key={CANARY}") == f"Bearer {CANARY}".encode()
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=20)
    assert (command.returncode, out) == (0, "")
    assert '"event": "request"' in err
    assert CANARY not in err


def test_several_credentials_are_on_each_request(api: str) -> None:
    with process(
        "run", "--to", api, "--basic", "env:US3R:", "--header", "X-Key: env:K3Y", "--header", "X-Other=env:OTH3R",
        "--query", "k=env:K3Y", "--listen", "127.0.0.1:0", "--admin", "none", US3R="me", K3Y="one", OTH3R="two",
    ) as command:  # fmt: skip
        url = line_with(command.stderr, "listening on ").split()[-1]
        assert get(f"{url}/x?a=1") == b"Basic bWU6|one|two|/x?a=1&k=one"
        command.terminate()
        command.communicate(timeout=20)
    with process(
        "run", "--to", api, "--bearer", "env:K3Y", "--header", "Authorization: env:K3Y", "--admin", "none", K3Y="one"
    ) as command:
        err = command.communicate(timeout=20)[1]
    assert command.returncode == 2
    assert "--bearer and --header Authorization set the same field authorization" in err


@pytest.mark.parametrize("level", [None, "debug", "warning"])
def test_the_log_says_no_more_than_its_level(api: str, config: Callable[[str], str], level: str | None) -> None:
    flags = [] if level is None else ["--log-level", level]
    path = config(
        '[server]\nlisten = ["127.0.0.1:0"]\nadmin = ""\n[tokens]\nstore = "memory"\n'
        f'[routes.a]\nupstream = "{api}"\ncredential = {{ type = "exec", command = ["echo", "T0K3N"] }}\n'
    )
    with process("run", "--config", path, "--log-format", "json", *flags) as command:
        assert get(line_with(command.stderr, "listening on ").split()[-1])
        command.send_signal(signal.SIGINT)
        err = command.communicate(timeout=20)[1]
    assert ('"event": "request"' in err) is (level != "warning")
    assert ("credential routes.a: obtained a token" in err) is (level == "debug")


def test_a_reload_takes_over_the_file(api: str, config: Callable[[str], str]) -> None:
    text = (
        f'[server]\nlisten = ["127.0.0.1:0"]\nadmin = ""\n[tokens]\nstore = "memory"\n[routes.a]\nupstream = "{api}"\n'
    )
    path = config(text + 'credential = { type = "bearer", token = "one" }')
    with process("run", "--config", path) as command:
        url = line_with(command.stderr, "listening on ").split()[-1]
        assert get(url) == b"Bearer one"
        config(text + 'credential = { type = "bearer", token = "two" }')
        command.send_signal(signal.SIGHUP)
        line_with(command.stderr, "reloaded")
        assert get(url) == b"Bearer two"
        config(text + "nonsense = 3")
        command.send_signal(signal.SIGHUP)
        assert "nonsense: unknown key" in line_with(command.stderr, "the old configuration goes on")
        assert get(url) == b"Bearer two"
        command.terminate()
        command.communicate(timeout=20)
    assert command.returncode == 0


def test_an_address_in_use_ends_it_with_1(api: str, run: Run) -> None:
    found = run("run", "--to", api, "--listen", api.removeprefix("http://"))
    assert (found.code, found.out) == (1, "")
    assert "server.listen: 127.0.0.1:" in found.err
    assert "is in use by another program, maybe another countersign; expected another port" in found.err
    assert "--listen ADDRESS" in found.err


@contextmanager
def default_admin_is_taken() -> Iterator[None]:
    """See that another program has the default address of the admin listener, whoever it is."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            sock.bind(("127.0.0.1", 8081))
            sock.listen()
        yield


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_admin_address_that_nobody_asked_for_stops_no_start(
    api: str, config: Callable[[str], str], workers: str
) -> None:
    text = f'[server]\nlisten = ["127.0.0.1:0"]\nworkers = {workers}\n[tokens]\nstore = "memory"\n'
    path = config(f'{text}[routes.a]\nupstream = "{api}"\n')
    with default_admin_is_taken(), process("run", "--config", path, "--log-format", "json") as command:
        assert "127.0.0.1:8081 is in use" in line_with(command.stderr, "the admin listener is on 127.0.0.1:")
        page = line_with(command.stderr, "status page: ").split()[-1]
        assert get(page + "metrics")
        with process("health", "--config", path) as health:
            assert health.communicate(timeout=20) == ("ok\n", "")
        assert health.returncode == 0
        # A reload neither fails nor moves it.
        command.send_signal(signal.SIGHUP)
        line_with(command.stderr, '"reloaded"')
        assert get(page + "healthz") == b"ok\n"
        # One that is configured and taken is refused.
        config(text.replace("[tokens]", 'admin = "127.0.0.1:8081"\n[tokens]') + f'[routes.a]\nupstream = "{api}"\n')
        command.send_signal(signal.SIGHUP)
        assert "server.admin: 127.0.0.1:8081 is in use" in line_with(command.stderr, "the old configuration goes on")
        command.terminate()
        command.communicate(timeout=20)
    assert command.returncode == 0


def test_the_start_names_the_file_and_a_hint_carries_it(tmp_path: Path, api: str) -> None:
    path = tmp_path / "my file.toml"
    path.write_text(
        f'[server]\nlisten = ["127.0.0.1:0"]\nadmin = ""\n[tokens]\npath = "{tmp_path}/tokens.json"\n'
        f'[routes.a]\nupstream = "{api}"\ncredential = "cal"\n[credentials.cal]\ntype = "oauth2"\n'
        f'grant = "authorization_code"\nclient_id = "x"\nclient_auth = "none"\n'
        f'authorization_url = "{api}/authorize"\ntoken_url = "{api}/token"\n'
    )
    hint = f"login needed: countersign login cal --config '{path}'"
    with process("run", "--config", str(path)) as command:
        assert line_with(command.stderr, "configuration: ") == f"configuration: {path}\n"
        url = line_with(command.stderr, "listening on ").split()[-1]
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(url)
        assert json.loads(caught.value.read())["detail"] == hint
        command.terminate()
        assert command.stderr
        assert hint in command.stderr.read()
        command.wait(timeout=20)
    with process("check", "--live", COUNTERSIGN_CONFIG=str(path)) as checking:
        out, err = checking.communicate(timeout=20)
    assert (checking.returncode, err.splitlines()[-1]) == (1, f"configuration: {path}")
    assert f"credential: {hint}" in out


def test_the_demo_starts_beside_another_one() -> None:
    with default_admin_is_taken(), process("demo", "--listen", "127.0.0.1:0") as command:
        line_with(command.stderr, "the admin listener is on 127.0.0.1:")
        line_with(command.stdout, "Stop with Ctrl-C.")
        command.terminate()
        command.communicate(timeout=20)
    assert command.returncode == 0


def test_a_configured_admin_address_that_is_taken_is_named(api: str, run: Run) -> None:
    address = api.removeprefix("http://")
    found = run("run", "--to", api, "--listen", "127.0.0.1:0", "--admin", address)
    assert (found.code, found.out) == (1, "")
    assert f"server.admin: {address} is in use by another program, maybe another countersign" in found.err


@pytest.mark.parametrize(("admin", "page"), [("127.0.0.1:0", True), ("none", False), ("", False)])
def test_the_flag_sets_the_admin_listener(api: str, admin: str, page: bool) -> None:
    with process("run", "--to", api, "--listen", "127.0.0.1:0", "--admin", admin) as command:
        line_with(command.stderr, "-> http://127.0.0.1")
        command.terminate()
        assert command.stderr
        said = command.stderr.read()
        command.wait(timeout=20)
    assert (command.returncode, "status page: " in said) == (0, page)


@pytest.mark.parametrize(
    "command", [("run", "--to", "http://127.0.0.1:1"), ("demo",), ("demo", "--api-only")], ids=" ".join
)
def test_without_the_parser_in_c_nothing_is_served(command: tuple[str, ...]) -> None:
    variables = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"}
    found = subprocess.run(  # our own command
        [sys.executable, "-m", "proxy", *command],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("error: aiohttp runs without its C parser; expected ")
    assert found.stderr.count("\n") == 1


def test_it_runs_on_the_loop_that_resolves_names_on_threads_of_their_own() -> None:
    found = []

    async def main() -> None:
        found.append(type(asyncio.get_running_loop()))

    run_loop(main())
    assert found == [Loop]


# -- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hard", "soft"), [(4096, 4096), (300, 300)])
def test_as_many_files_may_be_open_as_the_system_allows(hard: int, soft: int) -> None:
    script = (
        "import resource, proxy.cli.run as run\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))\n"
        "async def main(): print(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        "run.run_loop(main())\n"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == f"({soft}, {hard})\n"
