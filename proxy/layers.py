"""Where values come from, before anything is known of what they mean: layers, and the table that they make.

Command line > environment > ``.env`` > secrets directory > file. Nothing heavy is imported here: this is all
that `countersign health` needs, which runs every few seconds.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from proxy import encoding, environment, exposure, tomllines
from proxy.environment import PREFIX
from proxy.errors import ConfigError

SECRETS_DIRECTORY = Path("/run/secrets")
DOTENV = ".env"
ADMIN = "127.0.0.1:8081"  # where the admin listener is by default
# Of our own, but no keys: what names the file, and the example's name for the store's key.
NO_KEYS = frozenset({"COUNTERSIGN_CONFIG", "COUNTERSIGN_STORE_KEY"})

Table = dict[str, Any]  # Any: TOML
KeyPath = tuple[str, ...]

_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)$")
_OPTIONS: Mapping[KeyPath, str] = {
    ("server", "listen"): "--listen",
    ("server", "admin"): "--admin",
    ("routes", "default", "upstream"): "--to",
}


@dataclass(frozen=True)
class Layer:
    """One place where values come from.

    Attributes:
        name: what users call it.
        table: what it says, as a file would have it.
        variables: where each value stands in it, by key path, if values have names of their own there.
        file: the configuration file, if it is that.
        text: of the file.

    """

    name: str
    table: Table = field(repr=False)
    variables: Mapping[KeyPath, str] = field(default_factory=dict)
    file: Path | None = None
    text: str = field(default="", repr=False)

    @property
    def is_written(self) -> bool:
        """Whether it is a file that people write, who may expect ``$NAME`` to be replaced in it."""
        return self.file is not None or self.is_dotenv

    @property
    def is_dotenv(self) -> bool:
        """Whether it is a ``.env`` file, whose path is its name."""
        return os.path.basename(self.name) == DOTENV  # noqa: PTH119  # of a text

    @cached_property
    def _lines(self) -> Mapping[KeyPath, int]:
        return tomllines.lines(self.text)

    def depth(self, path: KeyPath) -> int:
        """How many keys of `path` it has."""
        here: object = self.table
        for depth, key in enumerate(path):
            if not isinstance(here, dict) or key not in here:
                return depth
            here = here[key]
        return len(path)

    def place(self, path: KeyPath) -> str:
        """Where in it a key stands, for users: in a variable of its own, or in one of a table around or in it.

        In the file it is the line of the key, or of the table in which it is missing.
        """
        if self.file is not None:
            prefixes = (path[:end] for end in range(len(path), 0, -1))
            line = next((self._lines[prefix] for prefix in prefixes if prefix in self._lines), None)
            return self.name if line is None else f"{self.name}:{line}"
        related = [own for own in self.variables if own[: len(path)] == path[: len(own)]]
        return self.variables[max(related, key=len)] if related and path else self.name


def gather(path: Path | None, overrides: Table, *, use_file: bool = True, need_file: bool = True) -> list[Layer]:
    """Return the layers, the weakest first.

    Args:
        path: the file; None for the one that `find` finds.
        overrides: what the command line says, as the file would have it.
        use_file: False if there shall be no file at all.
        need_file: whether it is a mistake that there is none.

    Raises:
        ConfigError: the file, the ``.env`` beside it, or one in the secrets directory, can't be read, or another user
            could change it; or there is no file.

    """
    file = (path or find()) if use_file else None
    layers = [_file(file)] if use_file and (need_file or file is not None) else []
    dotenv = None if file is None else file.parent / DOTENV
    _read_dotenv(dotenv)
    environment.current().folder = None if file is None else file.parent.absolute()
    layers.append(_flat(str(SECRETS_DIRECTORY), f"{SECRETS_DIRECTORY}/", _secret_files(), merged(layers)))
    if dotenv is not None:
        layers.append(_flat(str(dotenv), f"{dotenv}: variable ", environment.current().dotenv, merged(layers)))
    layers.append(_flat("environment", "environment variable ", os.environ, merged(layers)))
    return [*layers, _command_line(overrides)]


def _command_line(overrides: Table) -> Layer:
    layer = Layer("command line", overrides)
    options = {path: f"command line: {name}" for path, name in _OPTIONS.items() if layer.depth(path) == len(path)}
    return replace(layer, variables=options)


def merged(layers: Iterable[Layer], is_whole: Callable[[object], bool] = lambda _: False) -> Table:
    """Return what all of them say together; a table that `is_whole` replaces the one below it."""
    table: Table = {}
    for layer in layers:
        table = _over(table, layer.table, is_whole)
    return table


def _over(below: Table, above: Table, is_whole: Callable[[object], bool]) -> Table:
    table = dict(below)
    for key, value in above.items():
        old = table.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and not is_whole(value):
            value = _over(old, value, is_whole)
        table[key] = value
    return table


# -- the file ----------------------------------------------------------------------------------------------


def find() -> Path | None:
    """Return the configuration file that is used when none is named."""
    named = os.environ.get("COUNTERSIGN_CONFIG")
    if named:
        return Path(named)
    return next((Path(place) for place in _candidates() if os.path.isfile(place)), None)  # noqa: PTH113  # never raises


def _candidates() -> tuple[str, ...]:
    """Return where a file is looked for, in this order."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111  # does without a home
    return "countersign.toml", f"{home}/countersign/countersign.toml", "/etc/countersign/countersign.toml"


def sources(layers: Iterable[Layer]) -> list[str]:
    """Return the files that values come from, without what they hold."""
    found: list[str] = []
    for layer in layers:
        if layer.file is not None:
            found.append(str(layer.file.absolute()))
        elif layer.name == str(SECRETS_DIRECTORY):
            found += layer.variables.values()
        elif layer.is_dotenv and os.path.isfile(layer.name):  # noqa: PTH113  # never raises
            found.append(str(Path(layer.name).absolute()))
    return found


def _read_dotenv(path: Path | None) -> None:
    try:
        if path is not None:
            exposure.require_ours(path)
        environment.read_dotenv(path)
    except OSError as failure:
        raise ConfigError(f"{path}: can't be read: {failure.strerror}") from None
    except UnicodeDecodeError as failure:
        raise ConfigError(f"{path}: {encoding.flaw(failure.object)}") from None


def _file(path: Path | None) -> Layer:
    if path is None:
        first, *others = _candidates()
        raise ConfigError(
            "no configuration found: neither --config nor $COUNTERSIGN_CONFIG is given, and there is none of "
            f"{', '.join((f'./{first}', *others))}; "
            "right would be `countersign run --to URL`, `countersign demo` or a file"
        )
    try:
        exposure.require_ours(path)
    except OSError as failure:
        raise ConfigError(f"{path}: can't be read: {failure.strerror}") from None
    text, table = read(path)
    return Layer(str(path), table, file=path, text=text)


def read(path: Path) -> tuple[str, Table]:
    """Return the text of a TOML file, and what it says.

    Raises:
        ConfigError: it is missing, unreadable or no TOML.

    """
    try:
        text = path.read_text(encoding=encoding.TEXT)
        return text, tomllib.loads(text)
    except OSError as failure:
        raise ConfigError(f"{path}: can't be read: {failure.strerror}") from None
    except UnicodeDecodeError as failure:
        raise ConfigError(f"{path}: {encoding.flaw(failure.object)}") from None
    except tomllib.TOMLDecodeError as failure:
        line = _AT_LINE.search(str(failure))
        raise ConfigError(f"{path}{f':{line[1]}' if line else ''}: is not TOML: {failure}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{path}: holds a number of thousands of digits, or is nested too deeply") from None


# -- variables ---------------------------------------------------------------------------------------------


def _secret_files() -> dict[str, str]:
    """Files that are named as variables with a key in them; others are secrets that the configuration names."""
    found: dict[str, str] = {}
    if not SECRETS_DIRECTORY.is_dir():
        return found
    for file in SECRETS_DIRECTORY.iterdir():
        if file.name.upper().startswith(PREFIX) and "__" in file.name:
            try:
                exposure.require_ours(file)
                found[file.name] = file.read_text(encoding=encoding.TEXT)
            except OSError as failure:
                raise ConfigError(f"{file}: can't be read: {failure.strerror}") from None
            except UnicodeDecodeError as failure:
                raise ConfigError(f"{file}: {encoding.flaw(failure.object)}") from None
    return found


def _flat(name: str, label: str, variables: Mapping[str, str], below: Table) -> Layer:
    """Make a layer of names such as ``COUNTERSIGN_SERVER__LISTEN``, in any case.

    Names of routes and the like are spelled as the layers below spell them: ``MY_API`` means ``my-api``.
    """
    table: Table = {}
    names: dict[KeyPath, str] = {}
    # Whole tables (as JSON) before their keys.
    for variable in sorted(variables, key=lambda variable: (variable.count("__"), variable)):
        if variable.upper().startswith(PREFIX) and variable.upper() not in NO_KEYS:
            path = _spelled(variable[len(PREFIX) :].lower().split("__"), below)
            here = table
            for key in path[:-1]:
                inner = here.get(key)
                here[key] = here = dict(inner) if isinstance(inner, dict) else {}
            here[path[-1]] = _value(variables[variable].rstrip())  # echo ends a value with a line feed
            names[path] = label + variable
    return Layer(name, table, names)


def _spelled(keys: list[str], below: Table) -> KeyPath:
    path: list[str] = []
    here: object = below
    for key in keys:
        known = here if isinstance(here, dict) else {}
        spelled = key if key in known else next((each for each in known if _plain(each) == key), key)
        path.append(spelled)
        here = known.get(spelled)
    return tuple(path)


def _plain(key: str) -> str:
    return key.lower().replace("-", "_")


def _value(text: str) -> object:
    """Lists and tables are written as JSON."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text  # a text that begins like one
    return text
