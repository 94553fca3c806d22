from __future__ import annotations

from pathlib import Path

import pytest

from proxy.errors import StoreError
from proxy.stores import default_path


def test_the_default_path_is_below_the_state_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_path() == Path("/state/countersign/tokens.json")
    monkeypatch.setenv("HOME", "/home/me")
    for useless in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", useless)
        assert default_path() == Path("/home/me/.local/state/countersign/tokens.json")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(StoreError, match=r"set tokens\.path"):
        default_path()
