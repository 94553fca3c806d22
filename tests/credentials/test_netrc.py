from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import pytest

from proxy.credentials import Scheme
from proxy.errors import CredentialError, SecretError
from tests.credentials.doubles import applied, build, everything, parse, request, values

FILE = """\
# of mine
machine other.test login else password canary-1
machine api.test
  login me
  password "canary 2ä"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "netrc"
    file.write_text(text, encoding="utf-8")
    return file


async def account(scheme: Scheme) -> str:
    (value,) = values(await applied(scheme), "Authorization")
    return b64decode(value.removeprefix(b"Basic ")).decode()


async def test_it_is_the_entry_of_the_upstreams_host(tmp_path: Path) -> None:
    scheme = build({"type": "netrc", "file": str(written(tmp_path, FILE))})
    assert await account(scheme) == "me:canary 2ä"


async def test_a_byte_order_mark_is_not_part_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine api.test login me password canary", encoding="utf-8-sig")
    assert await account(build({"type": "netrc", "file": str(file)})) == "me:canary"


async def test_or_else_the_default(tmp_path: Path) -> None:
    text = "machine other.test login x password y default login anon password canary"
    assert await account(build({"type": "netrc", "file": str(written(tmp_path, text))})) == "anon:canary"


async def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    scheme = build({"type": "netrc", "file": str(written(tmp_path, FILE))})
    await scheme.ready()
    written(tmp_path, "machine api.test login new password canary-3")
    assert await account(scheme) == "new:canary-3"


async def test_it_is_the_users_own_unless_another_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, FILE).rename(tmp_path / ".netrc").chmod(0o600)
    assert await account(build({"type": "netrc"})) == "me:canary 2ä"


async def test_a_host_without_an_entry_is_said(tmp_path: Path) -> None:
    scheme = build({"type": "netrc", "file": str(written(tmp_path, "machine x login y password canary"))})
    await scheme.ready()
    with pytest.raises(CredentialError, match=r"netrc has no entry for api\.test$"):
        await applied(scheme)


@pytest.mark.parametrize("text", ["canary", "machine x canary y", "machine", "macdef canary\nx"])
async def test_what_is_no_netrc_is_said_without_it(text: str, tmp_path: Path) -> None:
    scheme = build({"type": "netrc", "file": str(written(tmp_path, text))})
    for step in (scheme.ready(), scheme.explain(request())):
        with pytest.raises(SecretError, match=r"is no \.netrc; right would be: machine HOST login NAME") as caught:
            await step
        assert "canary" not in everything(caught.value)


async def test_one_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="can't be read: No such file"):
        await build({"type": "netrc", "file": str(tmp_path / "x")}).ready()


def test_the_file_is_told_as_a_secret() -> None:
    assert [key for key, _ in parse({"type": "netrc"}).secrets()] == ["file"]
