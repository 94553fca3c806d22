"""What all commands have in common: how they are found, how they fail, where they write."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from proxy import __version__, cli

from .conftest import ROOT, Run, process


def test_the_version(run: Run) -> None:
    assert run("--version").out == f"countersign {__version__}\n"


def test_the_version_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom proxy.cli import cli\n"
        "try: cli(['--version'])\nexcept SystemExit: pass\n"
        "print(sorted({'pydantic', 'httpx', 'aiohttp', 'asyncio', 'cryptography', 'uvloop'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command(run: Run, flag: str) -> None:
    found = run(flag)
    assert found.code == 0
    for command in ("run", "check", "explain", "schema", "health", "demo"):
        assert f"\n  {command} " in found.out
        assert run(command, flag).code == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["chek"], "no such command; right would be check"),
        (["xyzzy"], "right would be one of check, demo, explain"),
        (["check", "--cnfig", "x"], "No such option"),
        (["--config", "x", "check"], "no such option in front of the command; expected countersign COMMAND [OPTIONS]"),
        (["tokens", "--config", "x", "list"], "expected countersign tokens COMMAND [OPTIONS]"),
        (["explain", "GET"], "Missing argument"),
        (["run", "--log-format", "x"], "Invalid value"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], text: str) -> None:
    found = run(*arguments)
    assert (found.code, found.out) == (2, "")
    assert text in found.err


@pytest.mark.parametrize("command", [["run"], ["check"], ["check", "--live"], ["explain", "GET", "/"]])
def test_a_wrong_configuration_is_told_on_stderr_line_by_line(run: Run, command: list[str], config: object) -> None:
    path = config('[server]\nlisen = "c4n4ry"\n[routes.a]\n')  # type: ignore[operator]  # the fixture's function
    found = run(*command, "--config", path)
    assert (found.code, found.out) == (2, "")
    assert found.err.splitlines() == [
        f'error: {path}:3: routes.a.upstream: is missing; right would be upstream = "https://api.example.com"',
        f"error: {path}:2: server.lisen: unknown key; right would be listen",
    ]


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("", True), ("1", False)])
def test_errors_are_red_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_color: str | None, coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("click._compat.should_strip_ansi", lambda *_, **__: False)
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_, **__: False)
    with pytest.raises(SystemExit) as ended:
        cli.fail("x\ny", 1)
    assert ended.value.code == 1
    found = capsys.readouterr().err
    assert ("\x1b[31m" in found) is coloured
    assert found.count("error: ") == 2


@pytest.mark.parametrize(
    "command", [["run", "--to", "http://127.0.0.1:1", "--header", "X-Key:"], ["tokens", "show", "a"]]
)
def test_what_was_not_expected_is_not_repeated(run: Run, command: list[str]) -> None:
    found = run(*command, "c4n4ry", "(c4n4ry)\nx")
    assert (found.code, found.out) == (2, "")
    assert found.err.endswith("Error: Got unexpected extra arguments\n")


def test_what_nobody_expected_is_told_by_its_place_and_not_by_its_text(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("c4n4ry")

    monkeypatch.setattr("proxy.cli.check.load_settings", fail)
    found = run("check")
    assert (found.code, found.out) == (1, "")
    assert re.fullmatch(r"error: an unexpected RuntimeError at /\S+/test_cli.py:\d+; please report it\n", found.err)


def test_a_reader_who_has_enough_is_no_error() -> None:
    command = process("schema")
    assert command.stdout
    command.stdout.close()
    assert command.stderr
    assert command.stderr.read() == ""
    assert command.wait(20) in (0, 1)
    command.stderr.close()
