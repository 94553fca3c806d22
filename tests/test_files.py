"""As many files as the system allows, and as many clients as they are enough for."""

from __future__ import annotations

import io
import sys

import pytest

from proxy import files
from proxy.config import load
from proxy.life import warn_early
from proxy.log import Log


@pytest.mark.parametrize(
    ("limit", "clients"), [(0, 1), (3, 1), (128, 32), (256, 64), (1024, 448), (4096, 1984), (65536, 32704)]
)
def test_each_client_may_need_two_files(limit: int, clients: int) -> None:
    assert files.clients(limit) == clients


def test_where_there_is_no_limit_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    files.raise_limit()
    assert files.room() == sys.maxsize


async def test_it_is_told_if_there_is_less_room_than_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.StringIO()
    settings = load(overrides={"routes": {"a": {"prefix": "/", "upstream": "http://127.0.0.1:1"}}}, use_file=False)
    monkeypatch.setattr(files, "room", lambda: 448)
    await warn_early(settings, Log(lines, "human"))
    assert "server.connections is 1024; this process may have files open for 448 (ulimit -n)" in lines.getvalue()
