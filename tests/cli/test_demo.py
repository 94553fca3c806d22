"""The first thing that a newcomer runs."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
import urllib.request

import pytest

from proxy.cli.demo import guide, settings_for

from .conftest import Run, line_with, process


def get(url: str) -> tuple[int, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=20) as answer:
        return answer.status, bytes(answer.read())


def test_what_is_printed_works_when_it_is_pasted() -> None:
    with process("demo", "--listen", "127.0.0.1:0", COUNTERSIGN_SERVER__ADMIN="127.0.0.1:0") as command:
        url = line_with(command.stderr, "listening on ").split()[-1]
        line_with(command.stdout, "Paste these")
        assert command.stdout
        lines = []
        for line in command.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        for area in ("basic", "bearer", "oauth2", "hmac"):
            assert any(f"{url}/{area}/hello" in line for line in lines)
            status, body = get(f"{url}/{area}/hello")
            assert status == 200
            assert json.loads(body)
        command.send_signal(signal.SIGTERM)
        command.communicate(timeout=20)
    assert command.returncode == 0


def test_only_the_api() -> None:
    with process("demo", "--api-only") as command:
        url = line_with(command.stderr, "demo API: ").split()[-1]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with pytest.raises(urllib.error.HTTPError) as refused:
            opener.open(f"{url}/basic/hello", timeout=20)
        refused.value.close()
        assert refused.value.code == 401
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=20)
    assert command.returncode == 0


@pytest.mark.parametrize("address", ["x", "x:y", "127.0.0.1:99999", "unix:/run/x"])
def test_an_api_listens_on_host_and_port(run: Run, address: str) -> None:
    found = run("demo", "--api-only", "--listen", address)
    assert found.code == 2
    assert "--listen: right would be HOST:PORT" in found.err


def test_an_api_port_is_a_port(run: Run) -> None:
    assert run("demo", "--api-port", "99999").code == 2


def test_an_address_that_can_not_be_had(run: Run) -> None:
    found = run("demo", "--api-only", "--listen", "192.0.2.1:80")
    assert found.code == 1
    assert "the demo API can't listen on 192.0.2.1:80" in found.err


def test_the_environment_can_say_where_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_SERVER__LISTEN", "127.0.0.1:1")
    assert settings_for("http://127.0.0.1:2", None).server.listen == ("127.0.0.1:1",)
    assert settings_for("http://127.0.0.1:2", "127.0.0.1:3").server.listen == ("127.0.0.1:3",)


@pytest.mark.parametrize(("terminal", "no_color", "bold"), [(True, "", True), (True, "1", False), (False, "", False)])
def test_the_guide_is_bold_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, no_color: str, bold: bool
) -> None:
    said: list[str] = []
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    monkeypatch.setattr("proxy.cli.demo.click.echo", said.append)
    guide("http://localhost:8080")
    assert ("\x1b[1m" in "".join(said)) is bold
    assert re.search(r"curl -s http://localhost:8080/basic/hello", "".join(said))


@pytest.mark.parametrize(("admin", "address"), [(None, "127.0.0.1:8081"), ("none", ""), ("127.0.0.1:0", "127.0.0.1:0")])
def test_the_admin_listener_by_a_flag(admin: str | None, address: str) -> None:
    assert settings_for("http://127.0.0.1:9", "127.0.0.1:0", admin).server.admin == address
