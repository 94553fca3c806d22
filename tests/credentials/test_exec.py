from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.credentials import exec as module
from proxy.errors import CredentialError, TokenEndpointDown
from tests.credentials.doubles import Bench, applied, build, everything, parse, request, values
from tests.doubles import START, FakeClock

CANARY = "canary-51"


class Program:
    """A script that prints the next of its outputs at each run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.clock = FakeClock()

    def table(self, *outputs: Any) -> dict[str, Any]:
        for number, output in enumerate(outputs):
            text = output if isinstance(output, str) else json.dumps(output)
            (self._folder / f"out{number}").write_text(text)
        script = f'cd {self._folder}; echo >> runs; cat "out$(( $(wc -l < runs) - 1 ))"'
        return {"type": "exec", "command": ["sh", "-c", script]}

    @property
    def runs(self) -> int:
        file = self._folder / "runs"
        return file.read_text().count("\n") if file.exists() else 0


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


async def test_it_is_run_once_and_what_it_prints_is_sent(program: Program) -> None:
    scheme = build(program.table(CANARY), clock=program.clock)
    sent = await asyncio.gather(*(applied(scheme) for _ in range(20)))
    assert [values(each, "Authorization") for each in sent] == [[f"Bearer {CANARY}".encode()]] * 20
    assert program.runs == 1


@pytest.mark.parametrize("output", [CANARY, f'{{"token": "{CANARY}"}}'])
async def test_a_byte_order_mark_is_not_part_of_what_it_prints(program: Program, output: str) -> None:
    sent = await applied(build(program.table(f"\ufeff{output}"), clock=program.clock))
    assert values(sent, "Authorization") == [f"Bearer {CANARY}".encode()]


async def test_it_is_run_again_when_the_api_refuses_the_token(program: Program) -> None:
    bench = Bench(build(program.table("t1", "t2"), clock=program.clock), 401, 200, 200)
    assert [(await bench()).status_code, bench.story.notes] == [200, ("renewed token",)]
    await bench()
    assert bench.sent("Authorization") == [b"Bearer t1", b"Bearer t2", b"Bearer t2"]


async def test_it_is_run_again_when_the_token_expires(program: Program) -> None:
    scheme = build(program.table({"token": "t1", "expires_in": 40}, "t2", "t3"), clock=program.clock)
    await applied(scheme)
    assert scheme.expires_at() == START + 40
    await program.clock.advance(40)
    assert values(await applied(scheme), "Authorization") == [b"Bearer t2"]
    expiry = scheme.expires_at()
    assert expiry is not None
    # Run in the background before, it may have ended by then.
    assert START < expiry - module.UNTOLD <= START + 40, "nothing was said of its life"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 3", "the command sh failed with exit code 3"),
        ("echo please log in >&2; exit 1", "the command sh failed with exit code 1: please log in"),
        ("kill -9 $$", "the command sh failed with exit code -9"),
        ("true", "what the command sh printed holds no token"),
        ("echo a b; echo wrong option >&2", "holds no token: .*: wrong option"),
        ("echo '{'", "what the command sh printed is no JSON"),
        (f"echo {CANARY} >&2; exit 1", r"exit code 1: \*\*\*$"),
        (f"echo 'token={CANARY}' >&2; exit 1", r"exit code 1: token=\*\*\*$"),
        (f"echo 'password: {CANARY}' >&2; exit 1", r"exit code 1: password: \*\*\*$"),
        (f"echo 'Authorization: Bearer {CANARY}' >&2; exit 1", r"\*\*\*$"),
        (f"echo {CANARY} here; echo got {CANARY} here >&2", r"got \*\*\* \*\*\*$"),
        ("printf 'a\\033[31m\\nb' >&2; exit 1", r"exit code 1: a \[31m b$"),
        ("yes no | head -c 9999 >&2; exit 1", r"exit code 1: …[no ]+$"),
    ],
)
async def test_what_is_wrong_is_said_without_a_secret(script: str, says: str) -> None:
    with pytest.raises(CredentialError, match=says) as caught:
        await applied(build({"type": "exec", "command": ["sh", "-c", script]}))
    assert CANARY not in everything(caught.value)
    assert len(caught.value.detail) < 450


async def test_one_that_is_not_there_is_said() -> None:
    with pytest.raises(CredentialError, match="the command /no/such can't be started: No such file or directory"):
        await build({"type": "exec", "command": ["/no/such"]}).ready()


async def test_one_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.4)
    script = f"echo 'visit https://login.test/ by token={CANARY}' >&2; sleep 60"
    says = r"^the command sh took longer than 0 s: visit https://login\.test/ by token=\*\*\*$"
    with pytest.raises(TokenEndpointDown, match=says):
        await build({"type": "exec", "command": ["sh", "-c", script]}).ready()


async def test_one_that_fails_is_not_run_for_each_request(program: Program) -> None:
    scheme = build(program.table(""), clock=program.clock)
    for _ in range(10):
        with pytest.raises(CredentialError):
            await applied(scheme)
    assert program.runs == 1


async def test_explaining_it_runs_nothing(program: Program) -> None:
    to = request()
    told = await build(program.table("t"), clock=program.clock).explain(to)
    assert told == {"token": "from the command sh, or the store"}
    assert (values(to, "Authorization"), program.runs) == ([b"Bearer ***"], 0)


def test_its_words_may_be_one_text() -> None:
    credential = parse({"type": "exec", "command": "gcloud auth 'print access'"})
    assert credential.command == ("gcloud", "auth", "print access")  # type: ignore[attr-defined]  # an Exec


@pytest.mark.parametrize("command", ["", []])
def test_no_words_are_no_command(command: Any) -> None:
    with pytest.raises(ValidationError):
        parse({"type": "exec", "command": command})
