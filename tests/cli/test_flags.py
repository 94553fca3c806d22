"""What the options of ``run --to`` mean."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from proxy.cli._flags import basic, reference, settings_of_addresses, settings_of_flags
from proxy.config import load
from proxy.errors import ConfigError

from .conftest import Run

CANARY = "c4n4ry-s3cr3t"


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("env:NAME", {"env": "NAME"}),
        ("file:/run/secrets/x", {"file": "/run/secrets/x"}),
        ("file:C:\\x y", {"file": "C:\\x y"}),
        ("cmd:pass show 'my api'", {"command": ["pass", "show", "my api"]}),
        ("keyring:https://x/me", {"keyring": "https://x", "username": "me"}),
    ],
)
def test_references_name_secrets(text: str, table: dict[str, Any]) -> None:
    assert reference("--bearer", text) == table


@pytest.mark.parametrize(
    "text", [CANARY, f"x:{CANARY}", "", "env:", f"Bearer {CANARY}", ":", f"env:A:{CANARY}", f"env:a {CANARY}", "env:A="]
)
def test_a_secret_itself_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--query: a secret on the command line would stand in the process list; right would be"
    ) as caught:
        reference("--query", text)
    assert CANARY not in str(caught.value)


def test_a_command_has_a_program() -> None:
    with pytest.raises(ConfigError, match=r"^--bearer: cmd: names no command"):
        reference("--bearer", "cmd: ")


@pytest.mark.parametrize("text", ["keyring:x", "keyring:/x", "keyring:x/"])
def test_an_entry_of_a_keyring_has_a_service_and_a_user(run: Run, text: str) -> None:
    found = run("run", "--to", "https://x", "--bearer", text)
    assert (found.code, found.err) == (2, "error: --bearer: keyring: right would be keyring:SERVICE/USER\n")


@pytest.mark.parametrize("text", ["X-Key env:NAME", ": env:NAME", "=env:NAME", f"X Key: {CANARY}", f"X-Key {CANARY}"])
def test_a_header_without_a_name_in_front_of_its_separator(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--header: right would be NAME:REF, where REF is env:NAME") as caught:
        settings_of_flags("https://x", None, None, (text,), ())
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("flag", ["--bearer", "--basic", "--header", "--query"])
def test_the_option_that_has_no_reference_is_named(run: Run, flag: str) -> None:
    text = {"--bearer": CANARY, "--basic": f"me:{CANARY}", "--header": f"X-Key: {CANARY}", "--query": f"k={CANARY}"}
    found = run("run", "--to", "https://x", flag, text[flag])
    assert found.err.startswith(f"error: {flag}: a secret on the command line would stand in the process list")
    assert CANARY not in found.err


# -- user name and password --------------------------------------------------------------------------------

ENV = {"env": "PASS"}


@pytest.mark.parametrize(
    ("text", "username", "password"),
    [
        ("me:env:PASS", "me", ENV),
        ("me@example.com:file:/x:y", "me@example.com", {"file": "/x:y"}),
        ("me:cmd:echo env:x:", "me", {"command": ["echo", "env:x:"]}),
        (":env:PASS", "", ENV),
        ("me:", "me", ""),
        ("env:USER:env:PASS", {"env": "USER"}, ENV),
        ("env:STRIPE:", {"env": "STRIPE"}, ""),
        ("file:/a:b:env:PASS", {"file": "/a:b"}, ENV),
        ("file:/a:b:", {"file": "/a:b"}, ""),
        ("file:/a:file:/b", {"file": "/a"}, {"file": "/b"}),
        ("keyring:s/u:keyring:s/p", {"keyring": "s", "username": "u"}, {"keyring": "s", "username": "p"}),
        ("keyring:https://h/u:", {"keyring": "https://h", "username": "u"}, ""),
        ("cmd:pass show u:cmd:pass show p", {"command": ["pass", "show", "u"]}, {"command": ["pass", "show", "p"]}),
        ("env:env:PASS", "env", ENV),  # its user can't be a REF
        ("file:env:PASS", "file", ENV),
    ],
)
def test_basic_is_a_user_and_a_password(text: str, username: object, password: object) -> None:
    assert basic(text) == {"type": "basic", "username": username, "password": password}
    load(overrides=settings_of_flags("https://x", None, text, (), ()), use_file=False)


@pytest.mark.parametrize(
    "text", ["", ":", "me", "env:", "env:NAME", "file:/x", "cmd:x", "env:STRIPE:x", "cmd:", "file:"]
)
def test_what_is_no_user_and_password(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--basic: right would be USER:REF, REF:REF, or USER: and REF: for an empty"
    ):
        basic(text)


@pytest.mark.parametrize("text", [f"me:{CANARY}", CANARY, f":{CANARY}", f"env:A:{CANARY}", f"me:{CANARY}:env:A"])
def test_a_password_itself_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        basic(text)
    assert CANARY not in str(caught.value)


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
PATHS = st.from_regex(r"[a-z/:. ]{0,12}[a-z]", fullmatch=True)
REFERENCES = st.one_of(
    NAMES.map("env:{}".format),
    PATHS.map("file:{}".format),
    PATHS.map("cmd:{}".format),
    st.tuples(PATHS, NAMES).map("keyring:{0[0]}/{0[1]}".format),
)
TEXTS = st.from_regex(r"[A-Za-z0-9@. +-]+", fullmatch=True)
BEGINS_A_REFERENCE = re.compile(r":(env|file|cmd|keyring):.")


@given(TEXTS | REFERENCES, REFERENCES | st.just(""))
@example("me", "cmd:a:")
@example("file:/a:b", "env:A")
def test_any_pair_is_read_as_it_was_written(user: str, password: str) -> None:
    is_reference = ":" in user
    assume(user not in ("env", "file", "cmd", "keyring"))
    assume(not BEGINS_A_REFERENCE.search(user[1:]))  # the user would end there
    table = basic(f"{user}:{password}")
    assert table["username"] == (reference("--basic", user) if is_reference else user)
    assert table["password"] == (reference("--basic", password) if password else "")


@given(st.text(alphabet=st.sampled_from("env:filcmdkyrgAB/ ")))
def test_any_text_is_a_credential_or_a_mistake(text: str) -> None:
    try:
        table = basic(text)
    except ConfigError:
        return
    assert table["username"] or table["password"]


# -- together ----------------------------------------------------------------------------------------------

KEY = {"type": "api_key", "in": "header", "name": "X-Key", "value": {"env": "T"}}


@pytest.mark.parametrize(
    ("flags", "credential"),
    [
        ((None, None, (), ()), {"type": "none"}),
        (("env:T", None, (), ()), {"type": "bearer", "token": {"env": "T"}}),
        (("keyring:https://h/x/me", None, (), ()),
         {"type": "bearer", "token": {"keyring": "https://h/x", "username": "me"}}),
        ((None, "me:file:p", (), ()), {"type": "basic", "username": "me", "password": {"file": "p"}}),
        ((None, None, ("X-Key: env:T",), ()), KEY),
        ((None, None, ("X-Key=env:T",), ()), KEY),
        ((None, None, ("X-Key:env:T",), ()), KEY),
        ((None, None, (), ("key=env:T",)), {"type": "api_key", "in": "query", "name": "key", "value": {"env": "T"}}),
    ],
)  # fmt: skip
def test_flags_mean_what_a_file_would_say(flags: Any, credential: dict[str, Any]) -> None:
    table = settings_of_flags("https://api.example.com", *flags)
    assert table == {
        "routes": {"default": {"prefix": "/", "upstream": "https://api.example.com", "credential": credential}}
    }
    load(overrides=table, use_file=False)


@pytest.mark.parametrize(
    ("bearer", "user", "headers", "queries", "names"),
    [
        (None, None, ("A: env:A", "B: env:B"), (), ["--header A", "--header B"]),
        (None, None, (), ("a=env:A", "A=env:B"), ["--query a", "--query A"]),
        ("env:T", None, ("A: env:A",), ("a=env:A",), ["--bearer", "--header A", "--query a"]),
        (None, "env:KEY:", ("A=env:A",), (), ["--basic", "--header A"]),
    ],
)
def test_several_are_all_on_each_request(
    bearer: str | None, user: str | None, headers: tuple[str, ...], queries: tuple[str, ...], names: list[str]
) -> None:
    table = settings_of_flags("https://x", bearer, user, headers, queries)
    assert table["routes"]["default"]["credential"] == {"type": "all", "credentials": names}
    assert list(table["credentials"]) == names
    load(overrides=table, use_file=False)


@pytest.mark.parametrize(
    ("admin", "server"),
    [(None, {}), ("", {"server": {"admin": ""}}), ("none", {"server": {"admin": ""}}),
     ("[::1]:9", {"server": {"admin": "[::1]:9"}})],
)  # fmt: skip
def test_addresses_mean_what_a_file_would_say(admin: str | None, server: dict[str, Any]) -> None:
    assert settings_of_addresses((), admin) == server
    assert settings_of_addresses(("x",), admin) == {"server": {"listen": ["x"], **server.get("server", {})}}
