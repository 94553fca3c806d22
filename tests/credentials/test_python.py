from __future__ import annotations

import asyncio
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxy import environment
from proxy.credentials.python import load
from proxy.errors import CredentialError
from proxy.secrets import Source
from tests.credentials import strangers
from tests.credentials.doubles import Bench, applied, build, everything, parse, request, values

CANARY = "canary-8f"


def table(class_: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "python", "class": f"tests.credentials.strangers:{class_}", **arguments}


async def test_any_class_with_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_IN_TEST", "of the environment")
    scheme = build(table("Plain", token={"env": "TOKEN_IN_TEST"}, name="X-Key"))
    assert values(await applied(scheme), "X-Key") == [b"of the environment"]
    await scheme.aclose()


MINE = """
import httpx
import {more}

class Mine(httpx.Auth):
    def auth_flow(self, request):
        try:
            import later_of_test
        except ImportError:
            request.headers["X-Mine"] = "yes"
        yield request
"""


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Path]:
    """The folder of the configuration file, which is not the working directory."""
    folder = tmp_path / "beside"
    folder.mkdir()
    environment.current().folder = folder
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.endswith("_of_test"):
            del sys.modules[name]


async def test_a_class_of_a_module_beside_the_configuration_file(beside: Path) -> None:
    (beside / "module_of_test.py").write_text(MINE.format(more="neighbour_of_test"))
    (beside / "neighbour_of_test.py").touch()
    (beside / "later_of_test.py").touch()
    before = [*sys.path]
    scheme = build({"type": "python", "class": "module_of_test:Mine"})
    assert sys.path == before
    # What its code imports later does not come from there.
    assert values(await applied(scheme), "X-Mine") == [b"yes"]


@pytest.mark.parametrize("hostile", ["json", "httpx", "wave"])  # of the last nobody has imported the real one yet
async def test_no_module_beside_it_hides_another(beside: Path, hostile: str) -> None:
    (beside / "module_of_test.py").write_text(MINE.format(more=hostile))
    (beside / f"{hostile}.py").write_text("raise SystemExit")
    assert values(await applied(build({"type": "python", "class": "module_of_test:Mine"})), "X-Mine") == [b"yes"]
    assert str(beside) not in str(sys.modules[hostile].__file__)


@pytest.mark.parametrize("has_file", [True, False])
def test_nothing_is_imported_from_the_working_directory(
    beside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_file: bool
) -> None:
    (tmp_path / "hostile_of_test.py").write_text("raise SystemExit")
    environment.current().folder = beside if has_file else None
    with pytest.raises(ValueError, match=r"^can't be imported \(ModuleNotFoundError\)"):
        load("hostile_of_test:X")
    assert str(tmp_path) not in sys.path


def test_a_failed_import_leaves_the_search_path_as_it_was(beside: Path) -> None:
    (beside / "failing_of_test.py").write_text("import sys\nsys.path.insert(0, '/added')\n1 / 0\n")
    before = [*sys.path]
    with pytest.raises(ValueError, match=r"ZeroDivisionError"):
        load("failing_of_test:X")
    assert sys.path == ["/added", *before]
    sys.path.remove("/added")


@pytest.mark.parametrize("name", ["module_of_test.py", "__pycache__"])
def test_a_module_that_others_could_change_is_not_imported(beside: Path, name: str) -> None:
    file = beside / "module_of_test.py"
    file.write_text("raise SystemExit")
    cached = Path(importlib.util.cache_from_source(file))
    cached.parent.mkdir()
    cached.touch()
    (beside / name).chmod(0o707)
    with pytest.raises(ValueError, match=rf"^{beside}/.*: other users can write .*chmod o-w {beside}/{name}$"):
        load("module_of_test:X")


async def test_it_is_made_once_however_many_want_it_and_in_a_thread() -> None:
    strangers.Counted.made.clear()
    scheme = build(table("Counted", token="t"))
    await asyncio.gather(*(applied(scheme) for _ in range(20)))
    assert len(strangers.Counted.made) == 1
    assert "MainThread" not in strangers.Counted.made
    await scheme.aclose()


async def test_it_is_made_anew_when_a_secret_changes(tmp_path: Path) -> None:
    tmp_path.joinpath("t").write_text("one")
    scheme = build(table("Plain", token={"file": str(tmp_path / "t")}))
    assert values(await applied(scheme), "Authorization") == [b"one"]
    tmp_path.joinpath("t").write_text("another")
    assert values(await applied(scheme), "Authorization") == [b"another"]


async def test_one_that_can_not_be_made_is_said_without_its_text() -> None:
    scheme = build(table("Unmakeable", secret=CANARY))
    with pytest.raises(CredentialError, match=r"strangers:Unmakeable can't be made \(RuntimeError\)") as caught:
        await scheme.ready()
    assert CANARY not in everything(caught.value)
    assert re.search(r"\(RuntimeError\), in strangers\.py, line \d+$", caught.value.detail)


async def test_one_that_ends_the_process_when_it_is_made_is_said() -> None:
    scheme = build(table("Exits", at_once=True))
    with pytest.raises(CredentialError, match=r"strangers:Exits can't be made \(SystemExit\), in strangers\.py, line"):
        await scheme.ready()


BROKEN = {
    "import no_such_package": r"\(ModuleNotFoundError\): there is no module no_such_package, at {}:2$",
    "from json import nothing": r"\(ImportError\): the module json does not have what is imported from it, at {}:2$",
    "import os; os.environ['canary-8f']": r"\(KeyError\), at {}:2$",
    "raise ValueError('canary-8f')": r"\(ValueError\), at {}:2$",
    "exit('canary-8f')": r"\(SystemExit\), at {}:2$",
    "raise BaseException('canary-8f')": r"\(BaseException\), at {}:2$",
    "raise GeneratorExit('canary-8f')": r"\(GeneratorExit\), at {}:2$",
    "x = 'canary-8f": r"\(SyntaxError\), at {}:2$",
}


@pytest.mark.parametrize("line", BROKEN)
def test_a_module_that_can_not_be_imported_is_told_with_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    file = tmp_path / "broken_module_of_test.py"
    file.write_text(f"# a module\n{line}\n")
    with pytest.raises(ValueError, match="^can't be imported " + BROKEN[line].format(re.escape(str(file)))) as caught:
        load("broken_module_of_test:X")
    assert CANARY not in str(caught.value)


async def test_its_renewals_go_through_the_exchange() -> None:
    bench = Bench(build(table("Slow")), 401, 200)
    slow = (await bench.exchange._auth._made())._inner  # type: ignore[attr-defined]  # a PythonScheme
    slow.go_on.set()
    assert (await bench()).status_code == 200
    assert bench.sent("Authorization") == [b"t", b"again"]


async def test_explaining_it_does_not_begin_its_flow() -> None:
    to = request()
    told = await build(table("Fails", secret=CANARY, at=0)).explain(to)
    assert told == {"note": "tests.credentials.strangers:Fails is asked when a request is sent"}
    assert values(to, "Authorization") == []


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"class": "nope"}, "pattern"),
        ({"class": "no_such_module:X"}, r"imported \(ModuleNotFoundError\): there is no module no_such_module"),
        ({"class": "tests.credentials.strangers:No"}, r"\(AttributeError\): the module tests\.\S+ has no No"),
        ({"class": "tests.credentials.strangers:NoAuth"}, r"with a method of httpx\.Auth; expected one of auth_"),
        ({"class": "tests.credentials.strangers:Flow"}, r"is no class with a method of httpx\.Auth"),
        ({"wrong": CANARY}, "does not take these keys: got an unexpected keyword argument 'wrong'"),
        ({"token": None, "name": {"env": 7, "ttl": CANARY}},
         r"name is not a secret \(.*env: Input should be a valid string"),
    ],
)  # fmt: skip
def test_mistakes_are_said_without_what_was_given(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        parse({**table("Plain", token=CANARY), **keys})
    assert CANARY not in everything(caught.value.__cause__ or caught.value)


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(ValidationError, match="missing a required argument: 'token'"):
        parse(table("Plain"))


def test_its_secrets_are_those_that_are_tables() -> None:
    credential = parse(table("Plain", token={"env": "A"}, name="X"))
    ((key, source),) = credential.secrets()
    assert (key, isinstance(source, Source), repr(source)) == ("token", True, "Secret(the environment variable A)")


def test_what_is_given_is_masked_whatever_it_is() -> None:
    credential = parse(table("Plain", token=CANARY))
    assert credential.model_dump() == {
        "type": "python", "class": "tests.credentials.strangers:Plain", "token": "***"
    }  # fmt: skip
    assert CANARY not in f"{credential!r}{credential}"


def test_loading_takes_classes_only() -> None:
    assert load("tests.credentials.strangers:Plain") is strangers.Plain
    with pytest.raises(ValueError, match="is no class with a method"):
        load("os.path:join")
