from __future__ import annotations

import asyncio
import sys

import pytest
from keyring.errors import InitError, KeyringLocked, NoKeyringError

from proxy import keyrings
from proxy.keyrings import KeyringError
from tests.keyrings import OwnKeyring, own_keyring

__all__ = ["own_keyring"]


async def test_what_is_kept_comes_back_until_it_is_dropped(own_keyring: OwnKeyring) -> None:
    assert await keyrings.password("service", "user") is None
    await keyrings.keep("service", "user", "canary-1")
    assert await keyrings.password("service", "user") == "canary-1"
    assert await keyrings.password("service", "other") is None
    await keyrings.drop("service", "user")
    await keyrings.drop("service", "user")
    assert own_keyring.entries == {}


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (KeyringLocked("canary-1"), "is locked"),
        (NoKeyringError("canary-1"), "is missing: there is none on this machine that the library knows"),
        (InitError("canary-1"), "failed with InitError"),
        (ZeroDivisionError("canary-1"), "failed with ZeroDivisionError"),
    ],
)
async def test_what_goes_wrong_is_told_but_not_what_the_backend_says(
    failure: Exception, text: str, own_keyring: OwnKeyring
) -> None:
    own_keyring.failure = failure
    for work in (keyrings.password("s", "u"), keyrings.keep("s", "u", "canary-2"), keyrings.drop("s", "u")):
        with pytest.raises(KeyringError, match=f"^{text}$"):
            await work


async def test_a_user_who_does_not_unlock_it_keeps_nobody_waiting_for_ever(
    own_keyring: OwnKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyrings, "PATIENCE", 0.01)
    own_keyring.gate.clear()
    with pytest.raises(KeyringError, match="is it locked"):
        await keyrings.password("s", "u")
    asking = asyncio.create_task(keyrings.password("s", "u"))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()


async def test_without_the_library_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(KeyringError, match=r"pip install 'countersign-proxy\[keyring\]'"):
        await keyrings.password("s", "u")
