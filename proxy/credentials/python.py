"""Any class from another package that has the methods of ``httpx.Auth``, httpx2's among them."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import sys
import threading
import traceback
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import httpx
from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_serializer,
    model_validator,
)

from proxy import environment, exposure
from proxy.credentials import AUTHORIZATION, MASK, Context, Credential, Scheme
from proxy.credentials._foreign import ForeignScheme
from proxy.credentials._messages import FLOWS, Auth
from proxy.errors import CredentialError
from proxy.secrets import Source, is_secret_table, parse_secret
from proxy.threads import Threads
from proxy.transport.proxies import ProxySettings

THREADS = 32
_importing = threading.RLock()  # held while the search path has another folder


class Unsafe(ValueError):
    """Another user could change what would be imported."""


class Python(ProxySettings, Credential):
    """``type = "python"``, ``class = "package.module:Class"``; other keys are the class's arguments.

    An argument may be a secret table such as ``{ env = "NAME" }``. What is installed is searched first, then
    the folder of the configuration file: for this one import only.
    """

    model_config = ConfigDict(extra="allow")
    shares_requests: ClassVar[bool] = False

    type: Literal["python"]
    path: str = Field(alias="class", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    _arguments: dict[str, Any] = PrivateAttr()  # Any: whatever the class takes

    @field_validator("path")
    @classmethod
    def _exists(cls, path: str) -> str:
        load(path)
        return path

    @model_validator(mode="after")
    def _fits(self) -> Python:
        self._arguments = {name: _argument(name, value) for name, value in (self.model_extra or {}).items()}
        try:
            inspect.signature(load(self.path)).bind(**self._arguments)
        except TypeError as failure:
            # Says names of arguments, never their values.
            raise ValueError(f"{self.path} does not take these keys: {failure}") from None
        return self

    def secrets(self) -> Any:  # Any: as Credential.secrets, which mypy narrows too far here
        """As `Credential.secrets`."""
        return ((name, value) for name, value in self._arguments.items() if isinstance(value, Source))

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        # By default, what its flow sends elsewhere goes by the proxy of the route.
        has_own = self.proxy is not None or self.no_proxy is not None
        scheme = PythonScheme(self.path, self._arguments, context.tokens.client if has_own else None)
        scheme.outgoing = (context.tokens.outgoing,) if has_own else ()
        return scheme

    @model_serializer
    def _dump(self) -> dict[str, object]:
        # An argument that is a text may well be a secret: only its class knows.
        return {"type": self.type, "class": self.path, **dict.fromkeys(self.model_extra or (), MASK)}

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        return [("path", self.path), *((key, MASK) for key in self.model_extra or ())]


def _argument(name: str, value: Any) -> Any:  # Any: whatever the class takes
    if not is_secret_table(value):
        return value
    try:
        return parse_secret(value)
    except ValueError as failure:
        raise ValueError(f"{name} {failure}") from None


class PythonScheme(Scheme):
    """Makes the Auth when it is first needed, since its secrets have to be fetched for it, and when one changes."""

    fields = AUTHORIZATION

    def __init__(
        self,
        path: str,
        arguments: dict[str, Any],  # Any: whatever the class takes
        client: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._path = path
        self._client = client
        self._arguments = arguments
        self.reads_body = bool(getattr(load(path), "requires_response_body", False))
        self._threads = Threads(path, THREADS)
        self._lock = asyncio.Lock()  # for the making only: no request is sent under it
        self._made_of: dict[str, Any] | None = None  # Any: see above
        self._inner: ForeignScheme

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        flow = (await self._made()).async_auth_flow(request)
        try:
            following = await anext(flow)
            while True:
                response = yield following
                following = await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self._made()

    async def explain(self, request: httpx.Request) -> dict[str, str]:  # noqa: ARG002
        """As `Scheme.explain`; a stranger's flow might do anything, so it is not begun."""
        await self._made()
        return {"note": f"{self._path} is asked when a request is sent"}

    async def aclose(self) -> None:
        """As `Scheme.aclose`; a thread that hangs is not waited for."""
        self._threads.shutdown(cancel_futures=True)

    async def _made(self) -> ForeignScheme:
        arguments = {
            name: await value.get() if isinstance(value, Source) else value for name, value in self._arguments.items()
        }
        if self._made_of != arguments:
            async with self._lock:
                if self._made_of != arguments:
                    self._inner = ForeignScheme(await self._make(arguments), self._threads, self._client)
                    self._made_of = arguments
        return self._inner

    async def _make(self, arguments: dict[str, Any]) -> Auth:  # Any: whatever the class takes
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, _new, self._path, arguments)
        except CredentialError:
            raise
        except Exception as failure:  # noqa: BLE001  # third-party code
            problem = f"{self._path} can't be made ({type(failure).__name__}){_place_in_class(failure)}"
        # Raised outside: the exception's text may repeat an argument.
        raise CredentialError(problem)


def _new(path: str, arguments: dict[str, Any]) -> Auth:  # Any: whatever the class takes
    """Return an object of the class.

    Raises:
        CredentialError: it ends the process, or a thread, in place of being made.
        Exception: whatever else it raises.

    """
    try:
        return load(path)(**arguments)
    except Exception:
        raise
    except BaseException as failure:  # noqa: BLE001  # third-party code
        problem = f"{path} can't be made ({type(failure).__name__}){_place_in_class(failure)}"
    raise CredentialError(problem)


def load(path: str) -> type[Auth]:
    """Import the class at ``package.module:Class``.

    Raises:
        ValueError: there is none, another user could change it, or it has not the methods of ``httpx.Auth``.

    """
    module, _, name = path.partition(":")
    try:
        imported = sys.modules.get(module) or _imported(module)
    except (Unsafe, KeyboardInterrupt):  # the latter is the user's
        raise
    except BaseException as failure:  # noqa: BLE001  # third-party code
        raise ValueError(f"can't be imported ({type(failure).__name__}){_place_in_modules(failure)}") from None
    found = getattr(imported, name, None)
    if found is None:
        raise ValueError(f"can't be imported (AttributeError): the module {module} has no {name}")
    if not inspect.isclass(found) or not any(callable(getattr(found, flow, None)) for flow in FLOWS):
        raise ValueError(f"is no class with a method of httpx.Auth; expected one of {', '.join(FLOWS)}")
    return found


def _imported(module: str) -> ModuleType:
    folder = environment.current().folder
    if folder is None or importlib.util.find_spec(module.partition(".")[0]) is not None:
        return importlib.import_module(module)
    _require_ours(module.partition(".")[0], str(folder))
    with _importing, _searched(str(folder)):
        return importlib.import_module(module)


@contextmanager
def _searched(folder: str) -> Iterator[None]:
    """Have modules searched in `folder`, too, after all other places: no module of it hides another."""
    sys.path.append(folder)
    try:
        yield
    finally:
        if folder in sys.path:
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]


def _require_ours(module: str, folder: str) -> None:
    """Refuse a module that another user could change, or its bytecode."""
    spec = PathFinder.find_spec(module, [folder])
    for file in (spec.origin, spec.cached) if spec is not None else ():
        flaw = next(exposure.flaws(Path(file)), None) if file is not None else None
        if flaw is not None:
            raise Unsafe(f"{file}: {flaw}")


def _place_in_modules(failure: BaseException) -> str:
    """Say what failed in an import: names and a line of code, and never the text, which may hold a secret."""
    lines = [(frame.f_code, line) for frame, line in traceback.walk_tb(failure.__traceback__)]
    at = next((f", at {code.co_filename}:{line}" for code, line in reversed(lines) if code.co_name == "<module>"), "")
    if isinstance(failure, SyntaxError) and failure.filename:
        at = f", at {failure.filename}:{failure.lineno}"
    if isinstance(failure, ModuleNotFoundError):
        return f": there is no module {failure.name}{at}"
    if isinstance(failure, ImportError) and failure.name:
        return f": the module {failure.name} does not have what is imported from it{at}"
    return at


def _place_in_class(failure: BaseException) -> str:
    """Say where a class failed to be made: a file's name and a line. Clients see it, so there is no folder in it."""
    lines = [(frame.f_code, line) for frame, line in traceback.walk_tb(failure.__traceback__)]
    code, line = lines[-1]
    return f", in {Path(code.co_filename).name}, line {line}"
