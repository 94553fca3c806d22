from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from keyring.errors import KeyringLocked

from proxy.errors import ConfigError, StoreError
from proxy.stores import Setup, Token
from proxy.stores.keyring import SERVICE, KeyringStore
from tests.keyrings import OwnKeyring, own_keyring

__all__ = ["own_keyring"]

TOKEN = Token("access-canary", 1000.5, "refresh-canary")


@pytest.fixture
async def store(own_keyring: OwnKeyring, tmp_path: Path) -> AsyncIterator[KeyringStore]:
    store = KeyringStore(Setup(tmp_path / "tokens.json"))
    yield store
    await store.aclose()


async def test_the_token_is_in_the_keyring_and_only_its_name_in_a_file(
    store: KeyringStore, own_keyring: OwnKeyring, tmp_path: Path
) -> None:
    await store.save("me-0123456789ab", TOKEN)
    assert "access-canary" in own_keyring.entries[SERVICE, "me-0123456789ab"]
    content = (tmp_path / "tokens.json.keyring").read_text()
    assert "me-0123456789ab" in content
    assert "canary" not in content
    await store.forget("me-0123456789ab")
    assert own_keyring.entries == {}


async def test_another_process_finds_it(store: KeyringStore, tmp_path: Path) -> None:
    await store.save("a", TOKEN)
    other = KeyringStore(Setup(tmp_path / "tokens.json"))
    assert await other.names() == ["a"]
    assert await other.load("a") == TOKEN
    await other.aclose()


async def test_what_needs_another_key_is_told_and_stays(
    store: KeyringStore, own_keyring: OwnKeyring, tmp_path: Path
) -> None:
    keyed = KeyringStore(Setup(tmp_path / "tokens.json", keys=(b"key-canary",)))
    await keyed.save("a", TOKEN)
    assert "canary" not in str(own_keyring.entries)
    for work in (store.load("a"), store.save("a", TOKEN), store.forget("a")):
        with pytest.raises(StoreError, match=r"the keyring's entry a is encrypted; set tokens\.key"):
            await work
    assert await keyed.load("a") == TOKEN
    await keyed.aclose()


async def test_an_entry_that_is_not_encrypted_is_ignored_and_reported(
    store: KeyringStore, own_keyring: OwnKeyring, tmp_path: Path
) -> None:
    await store.save("a", TOKEN)
    told: list[str] = []
    keyed = KeyringStore(Setup(tmp_path / "tokens.json", keys=(b"key",), warn=told.append))
    assert await keyed.load("a") is None
    assert "the keyring's entry a is not encrypted, though tokens.key is set" in told[0]
    await keyed.aclose()


async def test_a_damaged_entry_is_told_and_replaced(own_keyring: OwnKeyring, tmp_path: Path) -> None:
    told: list[str] = []
    store = KeyringStore(Setup(tmp_path / "tokens.json", warn=told.append))
    own_keyring.entries[SERVICE, "a"] = "torn-canary"
    assert await store.load("a") is None
    await store.save("a", TOKEN)
    assert await store.load("a") == TOKEN
    assert "the keyring's entry a is torn" in told[0]
    assert "canary" not in str(told)
    await store.aclose()


async def test_a_locked_keyring_is_trouble_until_it_is_unlocked(store: KeyringStore, own_keyring: OwnKeyring) -> None:
    own_keyring.failure = KeyringLocked("canary")
    for work in (store.load("a"), store.save("a", TOKEN), store.forget("a")):
        with pytest.raises(StoreError, match=r"^the keyring is locked$"):
            await work
    assert store.trouble() == "the keyring is locked"
    own_keyring.failure = None
    await store.save("a", TOKEN)
    assert store.trouble() is None


def test_without_the_library_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigError, match=r"tokens\.store: keyring is not installed; right would be: pip install"):
        KeyringStore.create(Setup(Path("/x/tokens.json")))
