from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import CredentialError, SecretError
from tests.credentials.doubles import applied, build, parse, request, values


def basic(username: Any, password: Any) -> dict[str, Any]:
    return {"type": "basic", "username": username, "password": password}


async def test_the_example_of_the_rfc() -> None:
    sent = await applied(build(basic("Aladdin", "open sesame")))
    assert values(sent, "Authorization") == [b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]


@pytest.mark.parametrize(
    ("username", "password"), [("jürgen", "pä€ß"), ("u", "a:b:c"), ("key", ""), ("", "pat"), ("", "")]
)
async def test_it_is_utf8_and_one_of_the_two_may_be_meant_to_be_empty(username: str, password: str) -> None:
    scheme = build(basic(username, password))
    await scheme.ready()
    (value,) = values(await applied(scheme), "Authorization")
    assert b64decode(value.removeprefix(b"Basic ")).decode() == f"{username}:{password}"


async def test_one_that_happens_to_be_empty_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY_IN_TEST", "")
    with pytest.raises(SecretError, match="EMPTY_IN_TEST is empty"):
        await applied(build(basic("u", {"env": "EMPTY_IN_TEST"})))


def test_one_that_is_meant_to_be_empty_is_no_secret_to_be_had() -> None:
    assert [key for key, _ in parse(basic("key", "")).secrets()] == ["username"]


async def test_a_colon_in_the_name_is_refused() -> None:
    scheme = build(basic("a:b", "canary"))
    for step in (scheme.ready(), applied(scheme)):
        with pytest.raises(CredentialError, match="colon") as caught:
            await step
        assert "canary" not in str(caught.value)


async def test_a_changed_password_is_sent(tmp_path: Path) -> None:
    tmp_path.joinpath("p").write_text("one")
    scheme = build(basic("u", {"file": str(tmp_path / "p")}))
    first = await applied(scheme)
    tmp_path.joinpath("p").write_text("longer")
    assert values(first, "Authorization") != values(await applied(scheme), "Authorization")


async def test_explaining_it_leaves_the_scheme() -> None:
    to = request(fields=[(b"Authorization", b"Basic OTk=")])
    await build(basic("u", "p")).explain(to)
    assert values(to, "Authorization") == [b"Basic ***"]
