from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from proxy.errors import ConfigError
from proxy.secrets import Source
from proxy.stores import Setup
from proxy.stores.settings import TokenSettings


async def test_a_store_is_made_with_what_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "key-canary")
    settings = TokenSettings.model_validate(
        {"store": "memory", "path": tmp_path, "key": {"env": "KEY"}, "old_keys": ["one-canary", {"env": "KEY"}]}
    )
    setup = await settings.setup(print)
    assert setup == Setup(tmp_path, "memory", (b"key-canary", b"one-canary", b"key-canary"), print)
    assert "canary" not in f"{settings!r} {setup!r}"


async def test_what_is_the_store_may_be_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TokenSettings.model_validate({"store": {"env": "STORE"}})
    assert isinstance(settings.store, Source)
    with pytest.raises(ConfigError, match=r"tokens\.store: the environment variable STORE is not set"):
        await settings.setup(print)
    monkeypatch.setenv("STORE", "memory")
    assert (await settings.setup(print)).choice == "memory"
    monkeypatch.setenv("STORE", "ftp://user:pass-canary@host")
    with pytest.raises(ConfigError, match=r"tokens\.store: is not a token store; right would be ") as caught:
        await settings.setup(print)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("key", ["key", "old_keys"])
async def test_a_key_that_cant_be_had_is_told(key: str) -> None:
    tables: dict[str, object] = {"key": "k", key: [{"env": "GONE"}] if key == "old_keys" else {"env": "GONE"}}
    settings = TokenSettings.model_validate(tables)
    with pytest.raises(ConfigError, match=rf"tokens\.{key}: the environment variable GONE is not set"):
        await settings.setup(print)


@pytest.mark.parametrize("store", ["ftp://user:pass-canary@host", "ftp://[user:pass-canary", "ftp://h?password=canary"])
def test_a_wrong_url_does_not_show_its_password(store: str) -> None:
    with pytest.raises(ValidationError, match="not a token store") as caught:
        TokenSettings.model_validate({"store": store})
    assert "canary" not in str(caught.value)
