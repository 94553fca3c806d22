"""The configuration as a whole: composes the models that the modules own, and reads where values come from.

Command line > environment > ``.env`` > secrets directory > file > default. Every mistake is told, all of them
at once, with where it stands, its key path, what is wrong and what would be right.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from proxy import environment, plugins
from proxy.credentials import Credential, CredentialTable
from proxy.errors import ConfigError
from proxy.gateway.body import LimitSettings
from proxy.gateway.connections import ConnectionSettings
from proxy.gateway.retry import RetrySettings
from proxy.gateway.route import RouteSettings, TimeoutSettings
from proxy.listeners import Address, kind
from proxy.mistakes import Mistake, explain, nearest
from proxy.secrets import Secret, Source
from proxy.stores import Store
from proxy.stores.file import default_path
from proxy.values import Duration, Model, Words, split_words

PREFIX = "COUNTERSIGN_"
SECRETS_DIRECTORY = Path("/run/secrets")
# Of our own, but no keys: what names the file, and the example's name for the store's key.
_NO_KEYS = frozenset({"COUNTERSIGN_CONFIG", "COUNTERSIGN_STORE_KEY"})

Table = dict[str, Any]  # Any: TOML
if TYPE_CHECKING:
    StoreName = str
else:
    StoreName = Literal[tuple(store.scheme for store in plugins.members("proxy.stores", Store))]


class ServerSettings(ConnectionSettings):
    """``[server]``."""

    listen: Annotated[tuple[Address, ...], BeforeValidator(split_words), Field(min_length=1)] = ("127.0.0.1:8080",)
    admin: Address | Literal[""] = "127.0.0.1:8081"
    workers: Literal[1] = 1
    shutdown_grace: Duration = 8.0
    allowed_hosts: Words = ()
    allowed_origins: Words = ()
    client_token: Secret | None = None
    admin_token: Secret | None = None
    trust_network: bool = False


class TokenSettings(Model):
    """``[tokens]``."""

    store: StoreName = "file"
    path: Path = Field(default_factory=default_path)
    key: Secret | None = None


class Settings(BaseSettings):
    """The whole configuration, frozen; every module gets the part that it owns."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        enable_decoding=False,
        title="countersign.toml",
    )

    server: ServerSettings = ServerSettings()
    tokens: TokenSettings = TokenSettings()
    retry: RetrySettings = RetrySettings()
    timeout: TimeoutSettings = TimeoutSettings()
    limits: LimitSettings = LimitSettings()
    routes: dict[str, RouteSettings] = Field(default={}, min_length=1)
    credentials: dict[str, CredentialTable] = {}

    def effective(self, route: RouteSettings) -> tuple[RetrySettings, TimeoutSettings, LimitSettings]:
        """What holds for a route: its own keys, and the global ones for the rest."""
        return (
            _over(self.retry, route.retry),
            _over(self.timeout, route.timeout),
            _over(self.limits, route.limits),
        )

    def in_use(self) -> Iterator[tuple[str, Credential]]:
        """Key path and settings of every credential, inline ones included."""
        for name, credential in self.credentials.items():
            yield f"credentials.{name}", credential
        for name, route in self.routes.items():
            if isinstance(route.credential, Credential):
                yield f"routes.{name}.credential", route.credential

    def secrets(self) -> Iterator[tuple[str, Source]]:
        """Key path and source of every secret."""
        owned = (("server.client_token", self.server.client_token), ("server.admin_token", self.server.admin_token),
                 ("tokens.key", self.tokens.key))  # fmt: skip
        yield from ((path, source) for path, source in owned if source is not None)
        for path, credential in self.in_use():
            yield from ((f"{path}.{key}", source) for key, source in credential.secrets())


T = TypeVar("T", bound=Model)


def _over(general: T, own: T) -> T:
    return general.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


# -- finding and reading -----------------------------------------------------------------------------------


def find() -> Path | None:
    """Return the configuration file that is used when none is named."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    named = environment.variables.get("COUNTERSIGN_CONFIG")
    if named:
        return Path(named)
    places = (
        Path("countersign.toml"),
        Path(home, "countersign/countersign.toml"),
        Path("/etc/countersign/countersign.toml"),
    )
    return next((place for place in places if place.is_file()), None)


def load(path: Path | None = None, overrides: Table | None = None, *, use_file: bool = True) -> Settings:
    """Read the configuration.

    Args:
        path: the file; None for the one that `find` finds.
        overrides: what the command line says, as the file would have it.
        use_file: False if there shall be no file at all.

    Raises:
        ConfigError: with every mistake.

    """
    environment.read_dotenv()
    table: Table = {}
    if use_file:
        path = path or find()
        if path is None:
            raise ConfigError(
                "no configuration found: neither --config nor $COUNTERSIGN_CONFIG is given, and there is no "
                "./countersign.toml; right would be `countersign run --to URL`, `countersign demo` or a file"
            )
        table = read(path)
    sources = _layers(path, table, overrides or {})
    merged: Table = {}
    for _, layer in sources:
        merged = _merged(merged, layer)
    mistakes = [*_unknown_variables(table), *_references(merged)]
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as failure:
        mistakes += explain(failure, Settings.model_json_schema(mode="validation"))
    if settings is not None:
        mistakes += [*_conflicts(settings), *_exposure(settings), *_readable(settings, path, table)]
    if mistakes or settings is None:
        raise ConfigError("\n".join(_located(mistake, sources) for mistake in sorted(set(mistakes))))
    return settings


def read(path: Path) -> Table:
    """Parse a TOML file.

    Raises:
        ConfigError: it is missing, unreadable or no TOML.

    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as failure:
        raise ConfigError(f"{path}: can't be read: {failure.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as failure:
        raise ConfigError(f"{path}: is not TOML: {failure}") from None


class _Flat(EnvSettingsSource):
    """Names such as ``COUNTERSIGN_SERVER__LISTEN``, wherever they come from."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = {name.lower(): value for name, value in variables.items()}
        super().__init__(Settings, env_prefix=PREFIX, env_nested_delimiter="__", case_sensitive=False)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._variables


def _layers(path: Path | None, table: Table, overrides: Table) -> list[tuple[str, Table]]:
    """Where values come from, the weakest first."""
    process, dotenv = environment.variables.maps[0], environment.variables.maps[1]
    return [
        (str(path), table),
        (str(SECRETS_DIRECTORY), _Flat(_secret_files())()),
        (".env", _Flat(dotenv)()),
        ("environment", _Flat(process)()),
        ("command line", overrides),
    ]


def _secret_files() -> dict[str, str]:
    if not SECRETS_DIRECTORY.is_dir():
        return {}
    found = {}
    for file in SECRETS_DIRECTORY.iterdir():
        if file.name.upper().startswith(PREFIX) and file.is_file():
            try:
                found[file.name] = file.read_text(encoding="utf-8").rstrip()
            except (OSError, UnicodeDecodeError):
                raise ConfigError(f"{file}: can't be read as UTF-8 text") from None
    return found


def _merged(below: Table, above: Table) -> Table:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


# -- mistakes that concern more than one key ---------------------------------------------------------------


def _located(mistake: Mistake, sources: list[tuple[str, Table]]) -> str:
    """Say where a mistake stands: in the strongest layer that has its key."""
    for name, layer in reversed(sources):
        value: object = layer
        for key in mistake.path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            if name == "environment":
                name = "environment variable " + PREFIX + "__".join(mistake.path).upper()
            return f"{name}: {mistake}"
    return f"{sources[0][0]}: {mistake}"


def _unknown_variables(table: Table) -> Iterator[Mistake]:
    """A mistyped variable would be ignored in silence."""
    named = _NO_KEYS | set(_env_secrets(table))
    known = [PREFIX + key.upper() for key in Settings.model_fields]
    for variables in environment.variables.maps:
        for name in variables:
            if name.startswith(PREFIX) and name not in named and name.split("__")[0] not in known:
                yield Mistake((), f"the environment variable {name} means nothing; right would be " + nearest(
                    name.split("__")[0], known, "one that begins with"
                ))  # fmt: skip


def _env_secrets(table: object) -> Iterator[str]:
    if isinstance(table, dict):
        if isinstance(table.get("env"), str):
            yield table["env"]
        for value in table.values():
            yield from _env_secrets(value)


def _references(table: Table) -> Iterator[Mistake]:
    """Names of credentials that don't exist; on the raw table, so that other mistakes don't hide them."""
    credentials = table.get("credentials")
    known = list(credentials) if isinstance(credentials, dict) else []
    routes = table.get("routes")
    for name, route in routes.items() if isinstance(routes, dict) else ():
        wanted = route.get("credential") if isinstance(route, dict) else None
        if isinstance(wanted, str) and wanted not in known and wanted != "none":
            yield Mistake(
                ("routes", name, "credential"), "no such credential; right would be " + nearest(wanted, known)
            )
    for name in known:
        table_of_one = credentials[name] if isinstance(credentials, dict) else None
        members = table_of_one.get("credentials") if isinstance(table_of_one, dict) else None
        for wanted in members if isinstance(members, list) else ():
            path = ("credentials", name, "credentials")
            if wanted == name:
                yield Mistake(path, "a credential can't fall back to itself")
            elif wanted not in known:
                yield Mistake(path, "no such credential; right would be " + nearest(str(wanted), known))


def _conflicts(settings: Settings) -> Iterator[Mistake]:
    """Two routes that match the same requests, and credentials that need each other."""
    seen: dict[tuple[str | None, str | None, str], str] = {}
    for name, route in settings.routes.items():
        place = (route.listen, route.host, route.prefix)
        if place in seen:
            yield Mistake(
                ("routes", name),
                f"matches the same requests as routes.{seen[place]}; give it another prefix, host or listen",
            )
        seen.setdefault(place, name)
        if route.listen in settings.server.listen or (route.listen and route.listen == settings.server.admin):
            yield Mistake(("routes", name, "listen"), "is an address of [server], too; right would be one of its own")
    for name in settings.credentials:
        if name in _reachable(settings, name):
            yield Mistake(("credentials", name, "credentials"), "leads back to itself")


def _reachable(settings: Settings, name: str) -> set[str]:
    found: set[str] = set()
    pending = list(settings.credentials[name].named())
    while pending:
        member = pending.pop()
        if member not in found and member in settings.credentials:
            found.add(member)
            pending += settings.credentials[member].named()
    return found


def _exposure(settings: Settings) -> Iterator[Mistake]:
    """A listener beyond this machine wants a reason."""
    server = settings.server
    if server.client_token is None and not server.trust_network:
        listened: list[tuple[tuple[str, ...], str]] = [(("server", "listen"), address) for address in server.listen]
        listened += [(("routes", name, "listen"), route.listen or "") for name, route in settings.routes.items()]
        for path, address in listened:
            if address and not kind(address).is_local(address):
                yield Mistake(
                    path,
                    "is beyond this machine; that wants server.client_token or server.trust_network = true",
                )
    if server.admin and server.admin_token is None and not kind(server.admin).is_local(server.admin):
        yield Mistake(("server", "admin"), "is beyond this machine; that wants server.admin_token")


def _readable(settings: Settings, path: Path | None, table: Table) -> Iterator[Mistake]:
    """A secret in a file that others can read is none."""
    if path is None or not path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        return
    for key_path, source in settings.secrets():
        value: object = table
        for key in key_path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if source.kind == "literal" and isinstance(value, str):
            yield Mistake(
                tuple(key_path.split(".")),
                f"a secret stands in a file that others can read; right would be chmod 600 {path}, or {{ env = … }}",
            )
