"""git itself, which knows no password, against a protected ``git http-backend``."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.journeys.conftest import Build, House
from tests.journeys.test_renewal import REFUSED, Accounts, Renewing, accounts, renewing
from tests.journeys.wires import Line, Message, answer

__all__ = ["accounts", "renewing"]  # fixtures


def backend() -> str | None:
    """Where ``git http-backend`` is."""
    if shutil.which("git") is None:
        return None
    path = Path(subprocess.check_output(["git", "--exec-path"], text=True).strip()) / "git-http-backend"
    return str(path) if path.exists() else None


BACKEND = backend()
pytestmark = pytest.mark.skipif(BACKEND is None and "CI" not in os.environ, reason="git or git http-backend is missing")

AUTHORIZATION = b"Basic " + b64encode(b"me:the-git-password")
BASIC = {"type": "basic", "username": "me", "password": "the-git-password"}


class Repository:
    """A bare repository, a clone of it, and a git that reads no configuration of the machine's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "me", "GIT_AUTHOR_EMAIL": "me@localhost", "GIT_COMMITTER_NAME": "me",
            "GIT_COMMITTER_EMAIL": "me@localhost", "GIT_ASKPASS": "/bin/false", "NO_PROXY": "*",
        }  # fmt: skip

    async def git(self, *arguments: str, at: str = "") -> str:
        """Run git; return what it says."""
        process = await asyncio.create_subprocess_exec(
            "git", *arguments, cwd=self.root / at, env=self.environment, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(20):
            out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        return out.decode()

    async def answer(self, message: Message, line: Line) -> None:
        """A step: what git's own CGI program answers."""
        assert BACKEND
        path, _, query = message.target.decode().partition("?")
        fields = {name.lower(): value.decode() for name, value in message.fields}
        process = await asyncio.create_subprocess_exec(
            BACKEND,
            env={
                **self.environment, "GIT_PROJECT_ROOT": str(self.root), "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "me",
                "REQUEST_METHOD": message.method.decode(), "PATH_INFO": path, "QUERY_STRING": query,
                "CONTENT_TYPE": fields.get(b"content-type", ""), "CONTENT_LENGTH": str(len(message.body)),
                "HTTP_CONTENT_ENCODING": fields.get(b"content-encoding", ""),
                "GIT_PROTOCOL": fields.get(b"git-protocol", ""),
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate(message.body)
        head, _, body = out.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        status = next((int(each.split()[1]) for each in lines if each.startswith("Status:")), 200)
        await line.send(answer(status, body, *(each for each in lines if not each.startswith("Status:"))))


@pytest.fixture
async def repository(tmp_path: Path) -> Repository:
    """One with a commit in it."""
    made = Repository(tmp_path)
    await made.git("init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    for key in ("http.receivepack", "uploadpack.allowfilter", "uploadpack.allowanysha1inwant"):
        await made.git("config", key, "true", at="origin.git")
    await made.git("clone", "--quiet", "origin.git", "first")
    await commit(made, "first", {"README": b"hello"})
    await made.git("push", "--quiet", "origin", "HEAD:main", at="first")
    return made


async def commit(repository: Repository, at: str, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (repository.root / at / name).write_bytes(content)
    await repository.git("add", ".", at=at)
    await repository.git("commit", "--quiet", "--message", "change", at=at)


def protected(repository: Repository, may: Callable[[Message], bool]) -> Callable[[Message, Line], Awaitable[None]]:
    """A step that serves those who may."""

    async def step(message: Message, line: Line) -> None:
        if may(message):
            await repository.answer(message, line)
        else:
            await line.send(REFUSED.replace(b"Bearer", b"Basic", 1))

    return step


@pytest.fixture
async def house(build: Build, repository: Repository) -> House:
    """A proxy in front of the protected repository."""
    made = await build(credential=BASIC, prefix="/git")
    made.api.always = protected(repository, lambda message: message.get("Authorization") == AUTHORIZATION)
    return made


async def test_git_lists_clones_and_pushes_without_a_password(house: House, repository: Repository) -> None:
    url = f"{house.proxy.url}/git/origin.git"
    assert "refs/heads/main" in await repository.git("ls-remote", url)
    await repository.git("clone", "--quiet", url, "second")
    assert (repository.root / "second/README").read_bytes() == b"hello"
    await commit(repository, "second", {"README": b"changed"})
    await repository.git("push", "--quiet", "origin", "HEAD:main", at="second")
    await repository.git("pull", "--quiet", "origin", "main", at="first")
    assert (repository.root / "first/README").read_bytes() == b"changed"
    assert {message.get("Authorization") for message in house.api.messages} == {AUTHORIZATION}
    assert "the-git-password" not in await repository.git("config", "--list", at="second")


async def test_git_pushes_much_in_chunks(house: House, repository: Repository) -> None:
    content = os.urandom(3 << 20)
    await repository.git("clone", "--quiet", f"{house.proxy.url}/git/origin.git", "second")
    await commit(repository, "second", {"large": content})
    await repository.git("-c", "http.postBuffer=65536", "push", "--quiet", "origin", "HEAD:main", at="second")
    assert any(message.get("Transfer-Encoding") == b"chunked" for message in house.api.messages)
    await repository.git("pull", "--quiet", "origin", "main", at="first")
    assert (repository.root / "first/large").read_bytes() == content


async def test_git_sends_packed_requests_which_stay_packed(house: House, repository: Repository) -> None:
    for number in range(3):
        await commit(repository, "first", {f"{number}-{index}": os.urandom(20) for index in range(60)})
    await repository.git("push", "--quiet", "origin", "HEAD:main", at="first")
    url = f"{house.proxy.url}/git/origin.git"
    await repository.git("clone", "--quiet", "--filter=blob:none", url, "second")
    assert len(list((repository.root / "second").iterdir())) > 180
    packed = [message for message in house.api.messages if message.get("Content-Encoding") == b"gzip"]
    assert packed
    assert all(message.body.startswith(b"\x1f\x8b") for message in packed)


async def test_git_does_not_notice_that_a_token_dies_within_a_push(
    renewing: Renewing, accounts: Accounts, repository: Repository
) -> None:
    house = await renewing()
    house.api.always = ordinary = protected(repository, accounts.knows)
    await repository.git("clone", "--quiet", f"{house.proxy.url}/origin.git", "second")
    content = os.urandom(1 << 20)
    await commit(repository, "second", {"large": content})
    asked = len(house.api.messages)

    async def revoke_with_the_first_post(message: Message, line: Line) -> None:
        if message.method == b"POST":
            accounts.good.clear()
            house.api.always = ordinary
        await ordinary(message, line)

    house.api.always = revoke_with_the_first_post
    await repository.git("-c", "http.postBuffer=65536", "push", "--quiet", "origin", "HEAD:main", at="second")
    posts = [message for message in house.api.messages[asked:] if message.method == b"POST"]
    assert [message.get("Authorization") for message in posts][:2] == [b"Bearer token-1", b"Bearer token-2"]
    assert len(accounts.issuer.messages) == 2
    await repository.git("pull", "--quiet", "origin", "main", at="first")
    assert (repository.root / "first/large").read_bytes() == content
