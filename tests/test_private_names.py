"""Private names of dependencies: each that is used exists, has the shape that is relied on, and is in the table.

A patch release may change them. So their distributions are capped below the next minor version, and each name is
used in one file.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import netrc
import sys
import tomllib
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from packaging.requirements import Requirement
from packaging.version import Version

import proxy
from proxy.transport.backend import Dialling, dialled

PACKAGE = Path(proxy.__file__).parent
DOCUMENTED = {
    "aiohttp",
    "aiohttp.typedefs",
    "aiohttp.web",
}  # what of aiohttp its documentation names; other modules are its own
PUBLIC = {"os._exit", "_replace"}  # documented in spite of the underscore
# One class, whose parts stand in three files.
CONNECTION = {"proxy.gateway.server", "proxy.gateway.reading", "proxy.gateway.ending"}


def is_a(kind: type | tuple[type, ...]) -> Callable[[Any], object]:
    return lambda value: isinstance(value, kind)


def is_none(value: Any) -> bool:
    return value is None


# Of a new connection, before a client has sent anything.
HANDLER: dict[str, Callable[[Any], object]] = {
    "_buffer_paused": is_a(bool),
    "_close": is_a(bool),
    "_drain_helper": inspect.iscoroutinefunction,
    "_force_close": is_a(bool),
    "_loop": is_a(asyncio.AbstractEventLoop),
    "_messages": is_a(deque),
    "_parser": lambda value: type(value).__module__ == "aiohttp._http_parser",  # in C
    "_payload_parser": is_none,
    "_read_bufsize": is_a(int),
    "_reading_paused": is_a(bool),
    "_request_count": is_a(int),
    "_pause_reading_for_buffer": callable,
    "_resume_reading_for_buffer": callable,
    "_task_handler": is_none,
    "_upgraded": is_a(bool),
    "_waiter": is_none,
}


def has_parameters(what: Callable[..., Any], *names: str) -> bool:
    return set(names) <= inspect.signature(what).parameters.keys()


def a_request_holds_its_body() -> bool:
    request = httpx.Request("POST", "http://api.test", stream=httpx.ByteStream(b""))
    request._content = b"body"
    return request.content == b"body" == request.read()


def a_response_takes_another_decoder() -> bool:
    class Decoder:
        def decode(self, data: bytes) -> bytes:
            return data.upper()

        def flush(self) -> bytes:
            return b"!"

    request = httpx.Request("GET", "http://api.test")
    response = httpx.Response(200, stream=httpx.ByteStream(b"body"), request=request)
    response._decoder = Decoder()  # type: ignore[assignment]  # as much of one as is used
    return response.read() == b"BODY!"


def a_response_has_its_decoder() -> bool:
    response = httpx.Response(200, headers={"Content-Encoding": "deflate, gzip"})
    children = response._get_content_decoder().children  # type: ignore[attr-defined]  # of several codings
    return [type(child).__name__ for child in children] == ["GZipDecoder", "DeflateDecoder"]


def a_pool_has_its_backend() -> bool:
    plain = httpx.AsyncHTTPTransport()
    dialled(plain)
    return isinstance(plain._pool._network_backend, Dialling)


def connections_get_the_backend() -> bool:
    made = []
    for proxy_url in (None, "http://proxy.test"):
        transport = httpx.AsyncHTTPTransport(proxy=proxy_url)
        dialled(transport)
        assert isinstance(transport._pool, httpcore.AsyncConnectionPool)
        for scheme in (b"http", b"https"):
            connection: Any = transport._pool.create_connection(httpcore.Origin(scheme, b"api.test", 1))
            inner = getattr(connection, "_connection", None) or connection
            made.append(isinstance(inner._network_backend, Dialling))
    return all(made)


def a_stream_wraps_one_of_anyios() -> bool:
    from httpcore._backends.anyio import AnyIOStream

    return issubclass(AnyIOStream, httpcore.AsyncNetworkStream) and has_parameters(AnyIOStream, "stream")


def parser_takes_what_we_give() -> bool:
    from aiohttp.http_parser import HttpRequestParser

    return {"message_consumed", "set_upgraded", "feed_data", "feed_eof"} <= set(dir(HttpRequestParser))


def message_has_its_parts() -> bool:
    from aiohttp.http_parser import RawRequestMessage

    wanted = {"method", "path", "version", "raw_headers", "should_close", "upgrade", "chunked"}
    return wanted <= set(dir(RawRequestMessage))


def exception(path: str) -> bool:
    module, _, name = path.rpartition(".")
    return issubclass(getattr(import_module(module), name), Exception)


def a_handler_takes_our_arguments() -> bool:
    return has_parameters(
        RequestHandler.__init__, "loop", "access_log", "auto_decompress", "keepalive_timeout", "max_headers",
        "max_line_size", "max_field_size", "read_bufsize",
    )  # fmt: skip


NAMES: dict[str, Callable[[], object]] = {
    # aiohttp: modules that its documentation does not name
    "aiohttp.http_exceptions.LineTooLong": lambda: exception("aiohttp.http_exceptions.LineTooLong"),
    "aiohttp.http_parser.HttpRequestParser": parser_takes_what_we_give,
    "aiohttp.http_parser.HttpRequestParserPy": lambda: isinstance(
        import_module("aiohttp.http_parser").HttpRequestParserPy, type
    ),
    "aiohttp.http_parser.RawRequestMessage": message_has_its_parts,
    "aiohttp.streams.EMPTY_PAYLOAD": lambda: import_module("aiohttp.streams").EMPTY_PAYLOAD.is_eof(),
    "aiohttp.web_protocol.MAX_MSG_QUEUE_SIZE": lambda: import_module("aiohttp.web_protocol").MAX_MSG_QUEUE_SIZE > 0,
    "aiohttp.web_protocol.RequestHandler": a_handler_takes_our_arguments,
    "aiohttp.web_protocol.RequestPayloadError": lambda: exception("aiohttp.web_protocol.RequestPayloadError"),
    # the standard library
    "_parse": lambda: has_parameters(vars(netrc.netrc)["_parse"], "file", "fp", "default_netrc"),
    # httpcore and httpx
    "httpcore._backends.anyio.AnyIOStream": a_stream_wraps_one_of_anyios,
    "_content": a_request_holds_its_body,
    "_decoder": a_response_takes_another_decoder,
    "_get_content_decoder": a_response_has_its_decoder,
    "_network_backend": connections_get_the_backend,
    "_pool": a_pool_has_its_backend,
}

CAPPED = ("aiohttp", "httpcore", "httpx")


# -- what is used ------------------------------------------------------------------------------------------


@cache
def trees() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_own(module: str) -> bool:
    top = module.partition(".")[0]
    return top == "proxy" or top in sys.stdlib_module_names


def defined(tree: ast.Module) -> set[str]:
    """Return the private names that a module defines: it may use those of its own objects."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                found.add(name)
    return found


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not is_own(node.module or ""):
            module = node.module or ""
            for alias in node.names:
                is_hidden = module.startswith("aiohttp") and module not in DOCUMENTED
                if is_hidden or any(map(is_private, (*module.split("."), alias.name))):
                    yield f"{module}.{alias.name}"


def reached(tree: ast.Module) -> Iterator[str]:
    """Yield private names of objects that are none of ours."""
    own = defined(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not is_private(node.attr):
            continue
        base = ast.unparse(node.value)
        is_public = node.attr in PUBLIC or f"{base}.{node.attr}" in PUBLIC
        if base == "super()" or (base not in ("self", "cls") and node.attr not in own and not is_public):
            yield node.attr


def names_of(kind: type) -> set[str]:
    """Return what a class of a dependency has, its instances' attributes included."""
    found = set(dir(kind)) | set(getattr(kind, "__slots__", ()))
    try:
        source = inspect.getsource(sys.modules[kind.__module__])
    except OSError:  # it is in C
        source = ""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
            found |= {
                each.attr
                for each in ast.walk(node)
                if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "self"
            }
    return {name for name in found if is_private(name)}


def inherited() -> Iterator[tuple[str, str]]:
    """Yield private names that classes of ours use of the dependencies' classes that they extend, and where."""
    for module in trees():
        if module == "proxy.__main__":
            continue
        for kind in vars(import_module(module)).values():
            if not inspect.isclass(kind) or kind.__module__ != module:
                continue
            theirs = [
                each for each in kind.__mro__ if not is_own(each.__module__) and "pydantic" not in each.__module__
            ]
            if not theirs:
                continue
            names = set[str]().union(*map(names_of, theirs))
            ours = {name for each in kind.__mro__ if is_own(each.__module__) for name in getattr(each, "__slots__", ())}
            for each in kind.__mro__:
                if each.__module__.startswith("proxy."):
                    for used in attributes_of_self(each):
                        if used in names - ours:
                            yield used, each.__module__


def attributes_of_self(kind: type) -> set[str]:
    tree = next(
        node
        for node in ast.walk(trees()[kind.__module__])
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    return {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
    }


@cache
def used() -> dict[str, set[str]]:
    """Modules of ours by the private name that they use."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, tree in trees().items():
        for name in (*imported(tree), *reached(tree)):
            found[name].add(module)
    for name, module in inherited():
        found[name].add(module)
    return found


# -- the tests ---------------------------------------------------------------------------------------------


def test_every_private_name_that_is_used_is_in_the_table_and_no_other() -> None:
    assert sorted(used()) == sorted([*NAMES, *HANDLER])


def test_every_private_name_is_used_in_one_file() -> None:
    many = {name: where for name, where in used().items() if len(where) > 1 and not where <= CONNECTION}
    assert many == {}


@pytest.mark.parametrize("name", HANDLER)
async def test_a_connection_of_aiohttps_has(name: str) -> None:
    async def never(request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError(request)

    handler = RequestHandler(web.Server(never), loop=asyncio.get_running_loop(), auto_decompress=False)
    assert HANDLER[name](getattr(handler, name))


@pytest.mark.parametrize("name", NAMES)
def test_there_is(name: str) -> None:
    assert NAMES[name]()


@pytest.mark.parametrize("name", CAPPED)
def test_a_dependency_whose_private_names_are_used_is_capped(name: str) -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = next(found for text in project["dependencies"] if (found := Requirement(text)).name == name)
    lowest = max(Version(each.version) for each in wanted.specifier if each.operator == ">=")
    assert f"{lowest.major}.{lowest.minor + 1}" not in wanted.specifier
    assert str(lowest) in wanted.specifier
