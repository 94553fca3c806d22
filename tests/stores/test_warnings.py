from __future__ import annotations

from types import SimpleNamespace

import pytest

from proxy.stores import _warnings
from proxy.stores._warnings import RareWarning


def test_there_is_a_line_a_minute_that_says_how_often_it_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(_warnings, "time", SimpleNamespace(monotonic=lambda: now))
    lines: list[str] = []
    warning = RareWarning(lines.append)
    for _ in range(600):
        warning("it happened")
        now += 0.25
    assert lines == [f"it happened ({count} so far)" for count in (1, 241, 481)]
    assert warning.count == 600
