from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from proxy import plugins


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "family_of_test"
    folder.mkdir()
    base = f"from {__name__} import Animal, Bird\n"
    folder.joinpath("__init__.py").write_text("")
    folder.joinpath("zebra.py").write_text(base + "class Zebra(Animal):\n    def speak(self): return 'z'\n")
    folder.joinpath("birds.py").write_text(
        base + "class Wren(Bird): pass\nclass _Hidden(Bird): pass\nclass Abstract(Animal): pass\nnumber = 7\n"
        "class Stone: pass\nclass Eagle(Bird): pass\n"
    )
    folder.joinpath("_private.py").write_text(base + "class Ghost(Bird): pass\n")
    folder.joinpath("copies.py").write_text("from family_of_test.zebra import Zebra\nanother = Zebra\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield_name = "family_of_test"
    for name in [name for name in sys.modules if name.startswith(yield_name)]:
        monkeypatch.delitem(sys.modules, name)
    return yield_name


class Animal(ABC):
    @abstractmethod
    def speak(self) -> str: ...


class Bird(Animal):
    def speak(self) -> str:
        return "tweet"


def test_a_module_is_a_member_unless_it_is_private(family: str) -> None:
    assert plugins.modules(family) == ["birds", "copies", "zebra"]


def test_the_concrete_classes_that_a_module_defines_itself_in_its_order(family: str) -> None:
    found = plugins.members(family, Animal)
    assert [member.__name__ for member in found] == ["Wren", "Eagle", "Zebra"]
    assert [member().speak() for member in found] == ["tweet", "tweet", "z"]


def test_of_the_kind_that_is_wanted(family: str) -> None:
    assert [member.__name__ for member in plugins.members(family, Bird)] == ["Wren", "Eagle"]


def test_a_new_file_is_a_new_member(family: str, tmp_path: Path) -> None:
    tmp_path.joinpath(family, "ant.py").write_text(f"from {__name__} import Bird\nclass Ant(Bird): pass\n")
    assert plugins.modules(family)[0] == "ant"
    assert plugins.members(family, Animal)[0].__name__ == "Ant"


def test_one_is_had_without_the_others(family: str) -> None:
    assert plugins.member(family, "zebra", Animal)().speak() == "z"
    assert "family_of_test.birds" not in sys.modules


def test_a_family_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError):
        plugins.modules("no_such_family")
