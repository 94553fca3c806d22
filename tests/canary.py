"""No secret of any test shows in what the suite prints or logs: the law is kept for each test, by a hook.

Secrets of tests begin with one of `MARKS`; those of the demo's accounts are watched, too, in all the forms that
they could be carried in.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Generator
from urllib.parse import quote

import pytest

from proxy.demo import accounts

MARKS = ("canary-", "c4n4ry", "zanary-", "s3cret", "s3cr3t")


def forms(secret: str) -> set[str]:
    """Return a secret as it is, and as it could be carried; of base64, what doesn't depend on what precedes it."""
    raw = secret.encode()
    shifted = {b64encode(b"x" * shift + raw).decode()[4 * (shift > 0) : -4] for shift in range(3)}
    return {secret, raw.hex(), quote(secret, safe="")} | shifted


WATCHED = {
    form.lower()
    for secret in (
        accounts.PASSWORD, accounts.BEARER_TOKEN, accounts.CLIENT_SECRET, accounts.REFRESH_TOKEN, accounts.KEY_SECRET,
    )
    for form in forms(secret)
} | set(MARKS)  # fmt: skip


def shown(text: str) -> str | None:
    """Return the secret that `text` shows, or None."""
    text = text.lower()
    return next((form for form in WATCHED if form in text), None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test whose output or log shows a secret."""
    report = yield
    for name, text in report.sections:
        if report.passed and not item.get_closest_marker("shows_secret") and (secret := shown(text)):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: {name} shows a secret ({secret[:4]}…)"
    return report
