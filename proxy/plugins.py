"""How a family of plug-ins is found: a folder is a family, a file in it is a member.

Adding a member is adding one file. Nobody imports a member by name; the family's interface stands in the
``__init__.py`` of its folder.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def modules(package: str) -> list[str]:
    """Names of the modules in `package`, sorted, without the private ones."""
    path = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))


def members(package: str, base: Callable[..., T]) -> list[type[T]]:
    """The concrete subclasses of `base` that the modules of `package` define, in the modules' order."""
    return [member for name in modules(package) for member in _defined(f"{package}.{name}", base)]


def member(package: str, name: str, base: Callable[..., T]) -> type[T]:
    """The one that the module `name` of `package` defines; the other modules are not imported for it."""
    (found,) = _defined(f"{package}.{name}", base)
    return found


def _defined(path: str, base: Callable[..., T]) -> list[type[T]]:
    assert inspect.isclass(base)  # annotated as what makes one, since mypy takes no abstract class for a type
    found: list[Any] = [  # Any: of type[T], see above
        member
        for member in vars(importlib.import_module(path)).values()
        if inspect.isclass(member)
        and issubclass(member, base)
        and not inspect.isabstract(member)
        and member.__module__ == path
        and not member.__name__.startswith("_")
    ]
    return found
