"""Where keys stand in a TOML document."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.tomllines import KeyPath, lines


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("# a = 1\n\na = 1 # b = 2", {("a",): 3}),
        ("a = 1\r\nb = 2\r\n", {("a",): 1, ("b",): 2}),
        ("[t]\n\na = 1\n[u]\nb = 2", {("t",): 1, ("t", "a"): 3, ("u",): 4, ("u", "b"): 5}),
        ("[t.u]\n[t]\na=1", {("t",): 1, ("t", "u"): 1, ("t", "a"): 3}),
        ("a . b.\"c.d\" = 1\na.'e' = 2", {("a",): 1, ("a", "b"): 1, ("a", "b", "c.d"): 1, ("a", "e"): 2}),
        ('"\\u0061\\"" = 1', {('a"',): 1}),
        ("a = [\n  1, # ],\n  '],',\n]\nb = 1", {("a",): 1, ("a", "0"): 2, ("a", "1"): 3, ("b",): 5}),
        ("a = { b = 1, c.d = [2] }",
         {("a",): 1, ("a", "b"): 1, ("a", "c"): 1, ("a", "c", "d"): 1, ("a", "c", "d", "0"): 1}),
        ('a = """\n[x]\n""""\nb = \'\'\'\n\'\'\n\'\'\'\'\'\nc = 1', {("a",): 1, ("b",): 4, ("c",): 7}),
        ('a = "\\"#"\nb = \'\\\'\nc = ""\nd = """"""\ne = 1', {("a",): 1, ("b",): 2, ("c",): 3, ("d",): 4, ("e",): 5}),
        ("a = 1979-05-27 07:32:00\nb = 1", {("a",): 1, ("b",): 2}),
        (
            "[[a]]\nb = 1\n[[a]]\n[a.c]\nd = 1\n[[a.e]]\nf=1",
            {
                ("a",): 1, ("a", "0"): 1, ("a", "0", "b"): 2, ("a", "1"): 3, ("a", "1", "c"): 4,
                ("a", "1", "c", "d"): 5, ("a", "1", "e"): 6, ("a", "1", "e", "0"): 6, ("a", "1", "e", "0", "f"): 7,
            },
        ),
    ],
)  # fmt: skip
def test_each_key_has_its_line(text: str, found: dict[KeyPath, int]) -> None:
    tomllib.loads(text)
    assert lines(text) == found


# -- any document ------------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "c-d", "1", "x.y", "", 'q"', "é", "[t]", "# k", "= v", "'"])
LEAVES = st.one_of(
    st.integers(-5, 5),
    st.booleans(),
    st.floats(allow_nan=False),
    st.sampled_from(["", "text", "[t]\nk = 1", 'a "quoted" # one', "'''", '"""', "]", "},", "back\\slash"]),
)
INNER = st.recursive(
    LEAVES, lambda each: st.lists(each, max_size=3) | st.dictionaries(KEYS, each, max_size=3), max_leaves=8
)
TABLES = st.dictionaries(KEYS, INNER, max_size=4)


class Writer:
    """Writes tables as TOML, in all the ways that there are, and notes where each key came to stand."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self.text = ""
        self.expected: dict[KeyPath, int] = {}

    def _flip(self) -> bool:
        return bool(self._draw(st.booleans()))

    def _note(self, path: KeyPath) -> None:
        self.expected.setdefault(path, self.text.count("\n") + 1)

    def _noise(self) -> None:
        self.text += self._draw(st.sampled_from(["", "", "\n", "  \n", "# [no] k = 1\n", "\t# '''\n", "\r\n"]))

    def _key(self, key: str) -> str:
        if key and all(char.isascii() and (char.isalnum() or char in "-_") for char in key) and self._flip():
            return key
        return json.dumps(key, ensure_ascii=self._flip()) if "'" in key or self._flip() else f"'{key}'"

    def _dotted(self, keys: KeyPath) -> str:
        dot: str = self._draw(st.sampled_from([".", " . ", ". "]))
        return dot.join(map(self._key, keys))

    def document(self, table: dict[str, Any], path: KeyPath = ()) -> None:
        """Write a table whose header has been written; those below it get headers of their own, or not."""
        later: list[tuple[str, Any]] = []
        for key, value in table.items():
            tables = value if isinstance(value, list) else [value]
            if value and tables and all(isinstance(each, dict) for each in tables) and self._flip():
                later.append((key, value))
            else:
                self._noise()
                self._statement(path, (key,), value)
                self.text += self._draw(st.sampled_from(["\n", " # k = 1\n", "\r\n"]))
        for key, value in later:
            for index, each in enumerate(value if isinstance(value, list) else [value]):
                self._noise()
                inside = (*path, key)
                self._header(inside, is_list=isinstance(value, list))
                if isinstance(value, list):
                    inside = (*inside, str(index))
                    self._note(inside)
                    self.text += "]"
                self.text += "]" + self._draw(st.sampled_from(["\n", " # [x]\n"]))
                self.document(each, inside)

    def _header(self, path: KeyPath, *, is_list: bool) -> None:
        for length in range(1, len(path) + 1):
            self._note(path[:length])
        named = [key for at, key in enumerate(path) if path[:at] not in self._lists]
        if is_list:
            self._lists.add(path)
        self.text += "[" * (1 + is_list) + self._dotted(tuple(named))

    @property
    def _lists(self) -> set[KeyPath]:
        return self.__dict__.setdefault("lists", set())  # type: ignore[no-any-return]  # that is what it holds

    def _statement(self, path: KeyPath, keys: KeyPath, value: Any) -> None:
        if isinstance(value, dict) and len(value) == 1 and self._flip():
            (inner,) = value
            self._statement(path, (*keys, inner), value[inner])
            return
        for length in range(1, len(keys) + 1):
            self._note((*path, *keys[:length]))
        self.text += self._dotted(keys) + self._draw(st.sampled_from([" = ", "=", "\t= "]))
        self._value((*path, *keys), value)

    def _value(self, path: KeyPath, value: Any) -> None:
        if isinstance(value, dict):
            self.text += "{"
            for at, (key, each) in enumerate(value.items()):
                self.text += ", " if at else " "
                self._statement(path, (key,), each)
            self.text += " }"
        elif isinstance(value, list):
            self.text += "["
            for at, each in enumerate(value):
                self.text += self._draw(st.sampled_from(["", " ", "\n  ", " # ], 1\n"]))
                self._note((*path, str(at)))
                self._value((*path, str(at)), each)
                self.text += ","
            self.text += self._draw(st.sampled_from(["", "\n"])) + "]"
        elif isinstance(value, str):
            self._string(value)
        else:
            self.text += json.dumps(value) if not isinstance(value, float) else repr(value)

    def _string(self, value: str) -> None:
        if "'" not in value and "\n" not in value and self._flip():
            self.text += f"'{value}'"
        elif "'''" not in value and not value.endswith("'") and self._flip():
            self.text += f"'''\n{value}'''"
        elif '"""' not in value and "\\" not in value and self._flip():
            self.text += f'"""\n{value}"""' if not value.endswith('"') else f'"""\n{value[:-1]}\\""""'
        else:
            self.text += json.dumps(value)


def paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key path of a parsed document."""
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(inner, (*path, str(key)))


@given(st.data(), TABLES)
@settings(max_examples=250, deadline=None)
def test_any_document_has_the_lines_on_which_it_was_written(data: st.DataObject, table: dict[str, Any]) -> None:
    writer = Writer(data.draw)
    writer.document(table)
    assert tomllib.loads(writer.text) == table
    assert lines(writer.text) == writer.expected
    assert set(lines(writer.text)) == set(paths(table))


FRAGMENTS = [
    "[a]", "[[a]]", "[[a.b]]", "[a.b]", "[c]", "b = 1", "b.c = 1", "c = {d = 1, e.f = [", "]}", "c = [", "]", "1,", "}",
    "d = '''", "'''", 'e = """', '"""', "# '", '"', "f = '\"'", 'f = "\\\\"', "g = 1979-05-27 07:32:00",
]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=8))
@settings(max_examples=400, deadline=None)
def test_whatever_tomllib_accepts_has_all_its_keys(fragments: list[str]) -> None:
    text = "\n".join(fragments)
    with suppress(tomllib.TOMLDecodeError):
        table = tomllib.loads(text)
        assert set(lines(text)) == set(paths(table))


def test_absurd_depths_keep_the_lines_so_far() -> None:
    text = "a = 1\nb = " + "[" * 20_000
    assert lines(text)[("b",)] == 2
