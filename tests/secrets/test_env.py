from __future__ import annotations

import pytest

from proxy import environment
from proxy.errors import SecretError
from proxy.secrets.env import Env


async def test_it_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Env(env="SECRET_OF_TEST")
    monkeypatch.setenv("SECRET_OF_TEST", "one")
    assert await source.get() == "one"
    monkeypatch.setenv("SECRET_OF_TEST", "two")
    assert await source.get() == "two"


async def test_the_dotenv_file_stands_below_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Env(env="SECRET_OF_TEST")
    monkeypatch.setitem(environment.variables.maps[1], "SECRET_OF_TEST", "of the file")
    assert await source.get() == "of the file"
    monkeypatch.setenv("SECRET_OF_TEST", "of the process")
    assert await source.get() == "of the process"


async def test_one_that_is_not_set_is_named() -> None:
    with pytest.raises(SecretError, match="the environment variable NOT_SET is not set"):
        await Env(env="NOT_SET").get()
