"""Any ``httpx.Auth`` from somebody else's package."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import ConfigDict, Field, PrivateAttr, TypeAdapter, field_validator, model_validator

from proxy.credentials import AUTHORIZATION, Context, Credential, Scheme
from proxy.credentials._foreign import ForeignScheme
from proxy.errors import CredentialError
from proxy.secrets import Secret, Source, is_secret_table

_secret: TypeAdapter[Source] = TypeAdapter(Secret)


class Python(Credential):
    """``type = "python"``, ``class = "package.module:Class"``; other keys are the class's arguments.

    An argument may be a secret table such as ``{ env = "NAME" }``. What is installed is searched first, then
    the working directory.
    """

    model_config = ConfigDict(extra="allow")

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
        self._arguments = {
            name: _secret.validate_python(value) if is_secret_table(value) else value
            for name, value in (self.model_extra or {}).items()
        }
        try:
            inspect.signature(load(self.path)).bind(**self._arguments)
        except TypeError as failure:
            # Says names of arguments, never their values.
            raise ValueError(f"{self.path} does not take these keys: {failure}") from None
        return self

    def secrets(self) -> Any:  # Any: as Credential.secrets, which mypy narrows too far here
        """As `Credential.secrets`."""
        return ((name, value) for name, value in self._arguments.items() if isinstance(value, Source))

    def build(self, context: Context) -> Scheme:  # noqa: ARG002
        """As `Credential.build`."""
        return PythonScheme(self.path, self._arguments)

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        return [("path", self.path), *((key, "***") for key in self.model_extra or ())]


class PythonScheme(Scheme):
    """Makes the Auth when it is first needed, since its secrets have to be fetched for it."""

    fields = AUTHORIZATION

    def __init__(self, path: str, arguments: dict[str, Any]) -> None:  # Any: whatever the class takes
        self._path = path
        self._arguments = arguments
        self._inner: ForeignScheme | None = None

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        flow = (await self._made()).async_auth_flow(request)
        try:
            request = await anext(flow)
            while True:
                response = yield request
                request = await flow.asend(response)
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

    async def _made(self) -> ForeignScheme:
        if self._inner is None:
            arguments = {
                name: await value.get() if isinstance(value, Source) else value
                for name, value in self._arguments.items()
            }
            try:
                self._inner = ForeignScheme(load(self._path)(**arguments), blocks=True)
            except Exception as failure:  # noqa: BLE001  # a stranger's code
                # Its text may repeat an argument.
                raise CredentialError(f"{self._path} can't be made ({type(failure).__name__})") from None
        return self._inner


def load(path: str) -> type[httpx.Auth]:
    """Import the class at ``package.module:Class``.

    Raises:
        ValueError: there is none, or it is no ``httpx.Auth``.

    """
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as failure:  # noqa: BLE001  # a stranger's code
        raise ValueError(f"can't be imported ({type(failure).__name__})") from None
    if not (inspect.isclass(found) and issubclass(found, httpx.Auth)):
        raise ValueError("is not a subclass of httpx.Auth")
    return found
