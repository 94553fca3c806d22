"""What every source of secrets does. A source brings nothing but an entry in `ORIGINS`."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from proxy import plugins
from proxy.errors import SecretError
from proxy.secrets import Secret, SecretText, Source, is_secret_table
from proxy.values import Model
from tests.keyrings import OwnKeyring

CANARY = "canary-5e1f"
ADAPTER: TypeAdapter[Source] = TypeAdapter(Secret)

Origin = Callable[[str, Path, pytest.MonkeyPatch], Any]


def literal(text: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return text


def env(text: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SECRET_OF_TEST", text)
    return {"env": "SECRET_OF_TEST"}


def file(text: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    path.joinpath("secret").write_bytes(text.encode("utf-8", "surrogateescape"))
    return {"file": str(path / "secret")}


def command(text: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    file(text, path, monkeypatch)
    return {"command": ["cat", str(path / "secret")]}


def keyring(text: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    own = OwnKeyring()
    own.entries["service", "user"] = text
    monkeypatch.setattr("keyring.core._keyring_backend", own)
    return {"keyring": "service", "username": "user"}


ORIGINS: dict[str, Origin] = {"literal": literal, "env": env, "file": file, "command": command, "keyring": keyring}
PICKING = sorted(ORIGINS.keys() - {"literal"})
MISSING: dict[str, Any] = {
    "env": {"env": "NOT_SET_IN_ANY_TEST"},
    "file": {"file": "/does/not/exist"},
    "command": {"command": ["/does/not/exist"]},
    "keyring": {"keyring": "service", "username": "gone"},
}

Make = Callable[..., Source]


@pytest.fixture(params=list(ORIGINS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def made(text: str, **more: object) -> Source:
        origin = ORIGINS[kind](text, tmp_path, monkeypatch)
        return ADAPTER.validate_python({**origin, **more} if more else origin)

    return made


def chain(failure: BaseException | None) -> Iterator[BaseException]:
    while failure is not None:
        yield failure
        failure = failure.__cause__ or failure.__context__


def everything(failure: BaseException) -> str:
    """All that could ever be printed of a failure: its texts, its arguments, those of what it came from."""
    texts = ["".join(traceback.format_exception(failure))]
    texts += [f"{vars(each)} {each.args} {getattr(each, 'doc', '')}{each!r}" for each in chain(failure)]
    texts += [str(getattr(each, "object", "")) for each in chain(failure)]
    return "".join(texts)


def test_every_source_is_here() -> None:
    assert {source.kind for source in plugins.members("proxy.secrets", Source)} == set(ORIGINS)


async def test_it_gives_what_its_origin_holds_again_and_again(make: Make) -> None:
    source = make("pä$$ w\törd")
    assert [await source.get(), await source.get()] == ["pä$$ w\törd"] * 2


async def test_nothing_of_it_shows_the_secret(make: Make) -> None:
    source = make(CANARY)
    await source.get()
    shown = f"{source!r} {source} {source.where} {[source]} {source.model_dump()} {source.model_dump_json()}"
    shown += f"{list(source.__repr_args__())} {source.model_copy()!r}"
    assert CANARY not in shown
    assert source.where in repr(source)


async def test_an_empty_one_is_none(make: Make) -> None:
    with pytest.raises(SecretError, match=r"is empty$"):
        await make("").get()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", " \n"])
async def test_white_space_at_the_end_is_no_part_of_it(make: Make, end: str) -> None:
    source = make(f" a b{end}")
    assert await source.get() == " a b"
    assert await source.renewed(" a b") == " a b"


@pytest.mark.parametrize("kind", PICKING)
async def test_white_space_alone_is_no_secret(make: Make) -> None:
    with pytest.raises(SecretError, match=r"is empty$"):
        await make(" \r\n").get()


@pytest.mark.parametrize("kind", PICKING)
async def test_the_end_of_a_picked_field_is_trimmed_as_well(make: Make) -> None:
    assert await make('{"a": "b\\r\\n"}\r\n', json="a").get() == "b"


@pytest.mark.parametrize("character", ["\n", "\r", "\x01", "\x0b", "\x1b", "\x7f"])
@pytest.mark.parametrize("kind", PICKING)
async def test_one_that_would_break_a_field_is_none(make: Make, character: str) -> None:
    source = make(f"{CANARY}{character}x")
    with pytest.raises(SecretError, match="control character") as caught:
        await source.get()
    assert source.where in str(caught.value)
    assert CANARY not in everything(caught.value)


async def test_one_that_is_not_utf8_is_none(make: Make, kind: str) -> None:
    source = make(f"{CANARY}\udcff") if kind != "literal" else make("x")
    if kind == "literal":
        source = ADAPTER.validate_python("x")
        object.__setattr__(source, "value", type(source.value)(f"{CANARY}\udcff"))  # type: ignore[attr-defined]  # pydantic refuses it
    with pytest.raises(SecretError, match="UTF-8") as caught:
        await source.get()
    assert CANARY not in everything(caught.value)


@pytest.mark.parametrize("kind", PICKING)
@pytest.mark.parametrize(
    ("text", "pick", "value"),
    [
        ('{"a": {"b": "canary"}}', "a.b", "canary"),
        ('{"a": 17}', "a", "17"),
        ('["x", {"b": "canary"}]', "1.b", "canary"),
        ('  {"a": "\\u00e4"}', "a", "ä"),
    ],
)
async def test_a_field_can_be_picked(make: Make, text: str, pick: str, value: str) -> None:
    assert await make(text, json=pick).get() == value


@pytest.mark.parametrize("kind", PICKING)
@pytest.mark.parametrize(
    ("text", "pick", "says"),
    [
        (f'{{"a": "{CANARY}"}}', "b", "has no JSON field b"),
        (f'{{"a": "{CANARY}"}}', "a.b", "has no JSON field a.b"),
        (f'["{CANARY}"]', "1", "has no JSON field 1"),
        (f'["{CANARY}"]', "a", "has no JSON field a"),
        (f"{CANARY}", "a", "has no JSON field a"),
        (f'{{"a": "{CANARY}', "a", "has no JSON field a"),
        ("[" * 100_000, "a", "has no JSON field a"),
        (f'{{"a": ["{CANARY}"]}}', "a", "is not a text"),
        (f'{{"a": true, "b": "{CANARY}"}}', "a", "is not a text"),
        ('{"a": null}', "a", "is not a text"),
        ('{"a": 1.5}', "a", "is not a text"),
        ('{"a": ""}', "a", "is empty"),
        (f'{{"a": "{CANARY}\\nx"}}', "a", "control character"),
        (f'{{"a": "{CANARY}\\ud800"}}', "a", "UTF-8"),
    ],
)
async def test_a_wrong_pick_is_said_without_the_secret(make: Make, text: str, pick: str, says: str) -> None:
    source = make(text, json=pick)
    with pytest.raises(SecretError, match=says) as caught:
        await source.get()
    assert source.where in str(caught.value)
    assert CANARY not in everything(caught.value)


@pytest.mark.parametrize("kind", list(MISSING))
async def test_a_missing_origin_is_named(kind: str) -> None:
    source = ADAPTER.validate_python(MISSING[kind])
    with pytest.raises(SecretError) as caught:
        await source.get()
    assert str(caught.value).startswith(source.where)


@pytest.mark.parametrize("kind", PICKING)
def test_its_table_is_told_from_others(make: Make, kind: str) -> None:
    source = make("x")
    assert is_secret_table(source.model_dump(include={kind}))
    assert ADAPTER.validate_python(source) == source


@pytest.mark.parametrize("table", [{}, {"env": "A", "file": "b"}, {"json": "a"}, 7, ["x"], None])
def test_what_is_no_secret_is_refused_with_what_would_be_right(table: object) -> None:
    assert not is_secret_table(table)
    with pytest.raises(ValidationError, match=r"right would be a string or one of .*\{ env = … \}.*\{ file = … \}"):
        ADAPTER.validate_python(table)


def test_a_text_is_no_secret_table() -> None:
    assert not is_secret_table("x")


@pytest.mark.parametrize("kind", PICKING)
def test_unknown_keys_are_refused(make: Make) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        make("x", other="y")


# -- texts of several lines --------------------------------------------------------------------------------------


class WithText(Model):
    """As a credential with a key has one."""

    key: SecretText


@pytest.mark.parametrize("kind", PICKING)
async def test_one_of_several_lines_is_had_where_such_is_wanted(make: Make) -> None:
    lines = "-----BEGIN X-----\nabc\r\n\n-----END X-----"
    assert await WithText(key=make(lines)).key.get() == lines
    with pytest.raises(SecretError, match="line break"):
        await make(lines).get()
    with pytest.raises(SecretError, match="control character"):
        await WithText(key=make("a\n\x01")).key.get()


@pytest.mark.parametrize("kind", PICKING)
async def test_one_that_was_refused_is_read_anew(make: Make, kind: str) -> None:
    source = make('{"a": "canary"}', json="a")
    assert await source.renewed("another") == "canary"
    assert await source.renewed("canary") == "canary"


def test_what_stands_somewhere_for_good_never_changes(make: Make, kind: str) -> None:
    assert make("x").may_change is (kind not in ("literal", "env"))
