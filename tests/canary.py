"""No secret of any test shows in what the suite prints, logs or answers: the law is kept for each test, by hooks."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Generator

import pytest

from tests.watching import CLIENTS, install, watch


class _Records(logging.Handler):
    """Hears what is logged at any level, as it would be written without our own log between."""

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(CLIENTS):
            watch.hear(f"the logger {record.name}", self.format(record))


def pytest_configure() -> None:
    """Begin to watch."""
    install()


_records = _Records(logging.DEBUG)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Forget what the last test had for secrets, and listen to all that is logged."""
    watch.secrets.clear()
    watch.said.clear()
    root = logging.getLogger()
    root.addHandler(_records)
    root.setLevel(logging.DEBUG)
    hooks = threading.excepthook, sys.unraisablehook
    try:
        return (yield)
    finally:
        root.removeHandler(_records)
        root.setLevel(logging.WARNING)
        # What a process of ours does for good:
        logging.disable(logging.NOTSET)
        threading.excepthook, sys.unraisablehook = hooks


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that shows a secret."""
    report = yield
    if report.passed and call.when == "teardown" and not item.get_closest_marker("shows_secret"):
        for name, text in report.sections:
            if "log" not in name:
                watch.hear(name, text)
        if told := watch.shown():
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: {told}"
    return report
