from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest
from keyring.errors import KeyringLocked

from proxy.errors import SecretError
from proxy.secrets import _kept
from proxy.secrets import keyring as module
from proxy.secrets.keyring import Keyring
from tests.keyrings import OwnKeyring, own_keyring

__all__ = ["own_keyring"]


@pytest.fixture
def secret(own_keyring: OwnKeyring) -> Keyring:
    own_keyring.entries["service", "user"] = "canary-1"
    return Keyring(keyring="service", username="user")


async def test_it_is_asked_once_a_minute_however_many_want_it(
    secret: Keyring, own_keyring: OwnKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(_kept, "time", SimpleNamespace(monotonic=lambda: now))
    assert await asyncio.gather(*(secret.get() for _ in range(10))) == ["canary-1"] * 10
    own_keyring.entries["service", "user"] = "canary-2"
    assert await secret.get() == "canary-1"
    assert own_keyring.asked == 1
    now += module.KEPT
    assert await secret.get() == "canary-2"


async def test_a_refused_secret_is_asked_for_anew(secret: Keyring, own_keyring: OwnKeyring) -> None:
    assert await secret.get() == "canary-1"
    own_keyring.entries["service", "user"] = "canary-2"
    assert await secret.renewed("canary-1") == "canary-2"


async def test_a_keyring_that_fails_is_asked_again_after_a_pause(
    secret: Keyring, own_keyring: OwnKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(_kept, "time", SimpleNamespace(monotonic=lambda: now))
    own_keyring.failure = KeyringLocked("canary-1")
    for _ in range(50):
        with pytest.raises(SecretError, match="the keyring is locked"):
            await secret.get()
    assert own_keyring.asked == 1
    own_keyring.failure = None
    now += 1
    assert await secret.get() == "canary-1"


async def test_a_secret_that_is_refused_again_and_again_is_asked_for_after_growing_pauses(
    secret: Keyring, own_keyring: OwnKeyring
) -> None:
    for _ in range(50):
        assert await secret.renewed("canary-1") == "canary-1"
    assert own_keyring.asked < 5


async def test_what_keeps_it_from_being_had_is_told(secret: Keyring, own_keyring: OwnKeyring) -> None:
    own_keyring.failure = KeyringLocked("canary-1")
    with pytest.raises(SecretError, match=r"^the keyring's entry of user for service: the keyring is locked$"):
        await secret.get()
    gone = Keyring(keyring="service", username="gone")
    with pytest.raises(SecretError, match=r"entry of gone for service.*: the keyring is locked"):
        await gone.get()
    own_keyring.failure = None
    with pytest.raises(SecretError, match=r"entry of gone for service does not exist; right would be: keyring set"):
        await Keyring(keyring="service", username="gone").get()
