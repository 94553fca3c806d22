from __future__ import annotations

import pickle

import pytest
from pydantic import ValidationError

from proxy.environment import Environment
from proxy.errors import SecretError
from proxy.secrets.env import Env


async def test_it_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Env(env="SECRET_OF_TEST")
    monkeypatch.setenv("SECRET_OF_TEST", "one")
    assert await source.get() == "one"
    monkeypatch.setenv("SECRET_OF_TEST", "two")
    assert await source.get() == "two"


async def test_the_dotenv_file_stands_below_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with Environment({"SECRET_OF_TEST": "of the file"}).staged():
        source = Env(env="SECRET_OF_TEST")
    assert await source.get() == "of the file"
    assert "of the file" not in f"{source!r} {source} {source.model_dump()}"
    monkeypatch.setenv("SECRET_OF_TEST", "of the process")
    assert await source.get() == "of the process"


async def test_a_later_dotenv_file_is_for_a_later_configuration() -> None:
    with Environment({"SECRET_OF_TEST": "one"}).staged():
        old, same = Env(env="SECRET_OF_TEST"), Env(env="SECRET_OF_TEST")
    with Environment({"SECRET_OF_TEST": "two"}).staged():
        new = Env(env="SECRET_OF_TEST")
        assert [await source.get() for source in (old, new)] == ["one", "two"]
    assert (old == same, old == new) == (True, False)
    assert await pickle.loads(pickle.dumps(old)).get() == "one"


async def test_one_that_is_not_set_is_named() -> None:
    with pytest.raises(SecretError, match="the environment variable NOT_SET is not set"):
        await Env(env="NOT_SET").get()


@pytest.mark.parametrize(
    ("name", "meant"),
    [("$API_TOKEN", "API_TOKEN"), ("${API_TOKEN}", "API_TOKEN"), ("%API_TOKEN%", "API_TOKEN"), ("", "NAME"),
     ("$c4n4ry", "NAME"), ("API_TOKEN=c4n4ry", "NAME"), ("Bearer c4n4ry", "NAME"), ("env:c4n4ry", "NAME")],
)  # fmt: skip
def test_what_is_no_name_of_a_variable(name: str, meant: str) -> None:
    with pytest.raises(ValidationError, match=f'is not the name of a variable; expected env = "{meant}"') as caught:
        Env(env=name)
    assert "c4n4ry" not in str(caught.value)


@pytest.mark.parametrize("name", ["API_TOKEN", "a", "A-B", "a.b", "ProgramFiles(x86)"])
def test_any_other_name_may_be_set(name: str) -> None:
    assert Env(env=name).where == f"the environment variable {name}"
