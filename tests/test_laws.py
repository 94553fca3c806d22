"""The laws of the house, kept by reading its sources: what may import what, how long things are, what has a test."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from proxy import plugins
from proxy.admin import Page
from proxy.credentials import Credential
from proxy.listeners import Listener
from proxy.secrets import Source
from proxy.stores import Store
from proxy.tokens import Grant
from proxy.tokens.clients import ClientAuthentication

ROOT = Path(__file__).resolve().parents[1]

# From the bottom up: a part may import its own folder and what stands in lower rows. `proxy.gateway` is the
# page of values that pass between the steps; the steps themselves are `proxy.gateway.*`.
LAYERS = (
    ("proxy.environment", "proxy.errors", "proxy.printable", "proxy.threads"),
    ("proxy", "proxy.clock", "proxy.demo", "proxy.dumps", "proxy.encoding", "proxy.exposure", "proxy.files",
     "proxy.gateway", "proxy.hints", "proxy.keyrings", "proxy.later", "proxy.lines", "proxy.methods",
     "proxy.mistakes", "proxy.plugins", "proxy.runfile", "proxy.tomllines", "proxy.values", "proxy.waiting"),
    ("proxy.process",),
    ("proxy.keys", "proxy.layers", "proxy.listeners", "proxy.log", "proxy.metrics", "proxy.secrets"),
    ("proxy.transport",),
    ("proxy.stores",),
    ("proxy.tokens",),
    ("proxy.credentials", "proxy.report"),
    ("proxy.gateway.*",),
    ("proxy.consistency", "proxy.proxy_choice"),
    ("proxy.admin", "proxy.config"),
    ("proxy.generation", "proxy.places"),
    ("proxy.reload",),
    ("proxy.app",),
    ("proxy.life",),
    ("proxy.workers",),
    ("proxy.cli",),
    ("proxy.__main__",),
)  # fmt: skip

# Only these may know aiohttp: the file of the way where it meets httpx, and what serves pages of its own.
AIOHTTP = ("proxy.gateway.server", "proxy.listeners", "proxy.admin", "proxy.demo", "proxy.app")

FAMILIES: dict[str, type | None] = {
    "proxy.admin": Page,
    "proxy.cli": None,  # a command is a module
    "proxy.credentials": Credential,
    "proxy.listeners": Listener,
    "proxy.secrets": Source,
    "proxy.stores": Store,
    "proxy.tokens": Grant,
    "proxy.tokens.clients": ClientAuthentication,
}

# Who imports a plug-in by name all the same, and why.
BY_NAME = {
    ("proxy.cli.check", "proxy.admin.status"): "names a route's match as the status page does",
    ("proxy.cli.tokens", "proxy.admin.status"): "tells moments as the status page does",
    ("proxy.cli.run", "proxy.admin.status"): "names a route's match as the status page does",
}

LONGEST_FILE, LONGEST_FUNCTION, LONG_FUNCTION = 450, 50, 30  # lines

# What has no test file of its own name, and why.
UNTESTED: dict[str, str] = {}
TINY = 12  # statements that need no test file of their own


@cache
def modules() -> dict[str, Path]:
    """Path by dotted name; a folder has its own name."""
    found = {}
    for path in sorted((ROOT / "proxy").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def imports(name: str) -> frozenset[str]:
    """Whatever a module imports anywhere in it, as dotted names of modules."""
    found = set()
    for node in ast.walk(tree(modules()[name])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: a relative import"
            below = {f"{node.module}.{alias.name}" for alias in node.names} & modules().keys()
            found |= below or {node.module or ""}
            if len(below) < len(node.names):
                found.add(node.module or "")
    return frozenset(found)


def within(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


def part_of(name: str) -> str:
    """The row's entry that a module belongs to."""
    if within(name, "proxy.gateway") and name != "proxy.gateway":
        return "proxy.gateway.*"
    return ".".join(name.split(".")[:2])


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}.{node.name}", node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


# -- who may import whom -----------------------------------------------------------------------------------


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {name: imports(name) & modules().keys() - {name} for name in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as failure:
        pytest.fail(" -> ".join(failure.args[1]))


def test_every_part_has_its_place_in_the_layers() -> None:
    placed = [part for row in LAYERS for part in row]
    assert sorted({part_of(name) for name in modules()}) == sorted(placed)


def test_imports_point_one_way() -> None:
    height = {part: row for row, parts in enumerate(LAYERS) for part in parts}
    upwards = [
        f"{name} imports {other}"
        for name in modules()
        for other in imports(name) & modules().keys()
        if part_of(other) != part_of(name) and other != "proxy" and height[part_of(other)] >= height[part_of(name)]
    ]
    assert upwards == []


def test_aiohttp_stays_where_it_belongs() -> None:
    strangers = [
        name
        for name in modules()
        if any(within(other, "aiohttp") for other in imports(name)) and not any(within(name, part) for part in AIOHTTP)
    ]
    assert strangers == []


def test_only_the_configuration_knows_pydantic_settings() -> None:
    knowing = [name for name in modules() if any(within(other, "pydantic_settings") for other in imports(name))]
    assert knowing == ["proxy.config"]


PLUGINS = ("plugins.member", "plugins.members", "plugins.modules")


def test_all_families_of_plug_ins_are_known_here() -> None:
    asked = {
        call.args[0].value
        for path in modules().values()
        for call in ast.walk(tree(path))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) in ("plugins.member", "plugins.members", "plugins.modules")
        if isinstance(call.args[0], ast.Constant)
    }
    assert asked == FAMILIES.keys()


def members(package: str, base: type | None) -> set[str]:
    names = plugins.modules(package) if base is None else [
        inspect.getmodule(member).__name__.rpartition(".")[2]  # type: ignore[union-attr]  # all of them have one
        for member in plugins.members(package, base)
    ]  # fmt: skip
    return {f"{package}.{name}" for name in names}


def test_nobody_imports_a_plug_in_by_name() -> None:
    named = {
        (name, plug_in)
        for package, base in FAMILIES.items()
        for plug_in in members(package, base)
        for name in modules()
        if plug_in in imports(name) and not within(name, package)
    }
    assert named == BY_NAME.keys()


# -- how long things are -----------------------------------------------------------------------------------


def test_no_file_is_too_long() -> None:
    lengths = {name: len(lines(path)) for name, path in modules().items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    lengths = {name: length(node) for name, node in functions()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}
    assert sorted(lengths.values())[len(lengths) * 9 // 10] <= LONG_FUNCTION


# -- what everything has -----------------------------------------------------------------------------------


def test_every_function_is_annotated() -> None:
    bare = [
        name
        for name, node in functions()
        if node.returns is None
        or any(
            argument.annotation is None
            for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs,
                             *filter(None, (node.args.vararg, node.args.kwarg))]
            if argument.arg not in ("self", "cls")
        )
    ]  # fmt: skip
    assert bare == []


def test_every_module_says_what_it_is_for() -> None:
    assert [name for name, path in modules().items() if not ast.get_docstring(tree(path))] == []


def statements(path: Path) -> int:
    """How many there are, without imports and docstrings."""
    return sum(
        isinstance(node, ast.stmt)
        and not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in ast.walk(tree(path))
    )


def test_every_source_has_a_test_of_its_name() -> None:
    missing = []
    for path in modules().values():
        source = path.relative_to(ROOT)
        if path.name == "__init__.py" or statements(path) <= TINY:
            continue
        folder = ROOT / "tests" / source.relative_to("proxy").parent
        if not (folder / f"test_{path.stem.lstrip('_')}.py").is_file():
            missing.append(str(source))
    assert sorted(set(missing) - UNTESTED.keys()) == []


def test_every_exemption_from_a_check_has_its_reason_on_the_line() -> None:
    bare = [
        f"{name}:{number}"
        for name, path in modules().items()
        for number, line in enumerate(lines(path), 1)
        if re.search(r"#\s*(type: ignore|pragma: no cover)(\[[\w, -]+\])?\s*$", line)
    ]
    assert bare == []


def test_nothing_runs_on_threads_that_all_share() -> None:
    shared = [
        f"{name}:{call.lineno}"
        for name, path in modules().items()
        for call in ast.walk(tree(path))
        if isinstance(call, ast.Call)
        and (
            ast.unparse(call.func).endswith(("to_thread", "ThreadPoolExecutor", "loop.getaddrinfo"))
            or (ast.unparse(call.func).endswith("run_in_executor") and ast.unparse(call.args[0]) == "None")
        )
    ]
    assert shared == []
