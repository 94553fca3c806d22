"""What no key can tell alone; how it is told stands in test_config.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy import consistency
from proxy.mistakes import Mistake


def paths(mistakes: object) -> list[str]:
    return [".".join(mistake.path) for mistake in mistakes]  # type: ignore[attr-defined]  # an iterator of Mistake


def test_references_are_judged_whatever_else_is_wrong() -> None:
    table = {
        "routes": {"a": {"credential": "x"}, "b": 3, "c": {"credential": {"credentials": ["none", "y"]}}, "d": {}},
        "credentials": {"x": 3, "f": {"credentials": "x, z"}, "g": {"credentials": 3}},
    }
    assert paths(consistency.references(table)) == ["credentials.f.credentials", "routes.c.credential.credentials"]
    assert paths(consistency.references({"routes": 3, "credentials": 3})) == []


def test_local_listeners_need_no_reason() -> None:
    addresses = ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/x.sock", "", "0.0.0.0:1", "10.0.0.1:1", "[::]:1"]
    found = list(consistency.exposed([((address,), address) for address in addresses], "x"))
    assert [mistake.path[0] for mistake in found] == ["0.0.0.0:1", "10.0.0.1:1", "[::]:1"]


def test_only_texts_in_the_file_itself_are_its_secrets(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.touch(0o644)
    table = {"a": "secret", "b": {"env": "X"}, "username": "u"}
    secrets = [("a",), ("b",), ("c",), ("username",), ("a", "deeper")]
    assert paths(consistency.readable(secrets, file, table)) == ["a"]
    file.chmod(0o600)
    assert paths(consistency.readable(secrets, file, table)) == []


def test_a_file_that_can_not_be_looked_at_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "is_file", refuse)
    assert not consistency._exists(Path("/x"))
    assert consistency._exists(None)


def test_mistakes_are_sorted_by_their_path() -> None:
    assert sorted([Mistake(("b",), "x"), Mistake(("a", "b"), "y"), Mistake(("a",), "z")]) == [
        Mistake(("a",), "z"),
        Mistake(("a", "b"), "y"),
        Mistake(("b",), "x"),
    ]
