"""The configuration as a whole: composes the models that the modules own, and reads it.

Every mistake is told, all of them at once, with where it stands, its key path, what is wrong and what would be
right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from proxy import consistency, environment, proxy_choice
from proxy.credentials import Credential, CredentialTable, LoadKey
from proxy.environment import PREFIX, Environment
from proxy.errors import ConfigError
from proxy.gateway.body import LimitSettings
from proxy.gateway.connections import ConnectionSettings
from proxy.gateway.retry import RetrySettings
from proxy.gateway.settings import Host, RouteSettings, TimeoutSettings
from proxy.layers import ADMIN, KeyPath, Layer, Table, gather, merged, sources
from proxy.listeners import NOT_AN_ADDRESS, Address, kind
from proxy.mistakes import Mistake, explain, nearest
from proxy.proxy_choice import Choice, Outgoing
from proxy.secrets import Secret, Source, is_secret_table
from proxy.stores.settings import TokenSettings
from proxy.transport.proxies import NoProxy, OutgoingProxy, ProxyKey, ProxySettings, own_proxy
from proxy.transport.tls import TlsSettings
from proxy.values import Duration, Model, split_words


def _origin(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s/?#@*,]+/?", value):
        raise ValueError('not an origin; right would be "http://localhost:3000"')
    return value


def _addresses(value: object) -> object:
    words = split_words(value)
    if not isinstance(words, list | tuple):
        raise ValueError(NOT_AN_ADDRESS)
    return words


def _admin(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(NOT_AN_ADDRESS)
    if value:
        kind(value).check(value)
    return value


# More would only be in each other's way; and sockets for all of them can be handed over at once.
MOST_WORKERS = 128

Addresses = Annotated[tuple[Address, ...], BeforeValidator(_addresses), Field(min_length=1)]
Hosts = Annotated[tuple[Host, ...], BeforeValidator(split_words)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(split_words)]


# Both: `localhost` may be either, and another user could listen on the other one.
DEFAULT_LISTEN = ("127.0.0.1:8080", "[::1]:8080")


class ServerSettings(ConnectionSettings):
    """``[server]``."""

    listen: Addresses = DEFAULT_LISTEN
    admin: Annotated[str, BeforeValidator(_admin, json_schema_input_type=str)] = ADMIN
    workers: int = Field(default=1, ge=1, le=MOST_WORKERS)
    shutdown_grace: Duration = 8.0
    allowed_hosts: Hosts = ()
    allowed_origins: Origins = ()
    client_token: Secret | None = None
    admin_token: Secret | None = None
    trust_network: bool = False
    dumpable: bool = False


class Settings(BaseSettings):
    """The whole configuration, frozen; every module gets the part that it owns."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        case_sensitive=True,  # else [Server] beside [server] is taken for it, or ignored without a word
        hide_input_in_errors=True,
        title="countersign.toml",
    )

    server: ServerSettings = ServerSettings()
    tokens: TokenSettings = Field(default_factory=TokenSettings)
    retry: RetrySettings = RetrySettings()
    timeout: TimeoutSettings = TimeoutSettings()
    limits: LimitSettings = LimitSettings()
    proxy: ProxyKey | None = None
    no_proxy: NoProxy = ()
    routes: dict[str, RouteSettings] = Field(default={}, min_length=1)
    credentials: dict[str, CredentialTable] = {}
    _file: Path | None = PrivateAttr(default=None)
    _sources: tuple[str, ...] = PrivateAttr(default=())
    _environment: Environment = PrivateAttr(default_factory=environment.current)

    @property
    def file(self) -> Path | None:
        """The configuration file, None if there is none."""
        return self._file

    @property
    def sources(self) -> tuple[str, ...]:
        """The files that it was read from, the weakest first: the configuration file, secrets, ``.env``."""
        return self._sources

    @property
    def has_listen(self) -> bool:
        """Whether ``server.listen`` was configured, and is not just the default."""
        return "listen" in self.server.model_fields_set

    @property
    def has_admin(self) -> bool:
        """Whether ``server.admin`` was configured, and is not just the default."""
        return "admin" in self.server.model_fields_set

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load` has merged, which knows where each value came from, and nothing else."""
        return (init_settings,)

    def effective(self, route: RouteSettings) -> tuple[RetrySettings, TimeoutSettings, LimitSettings]:
        """What holds for a route: its own keys, and the global ones for the rest."""
        return (
            _over(self.retry, route.retry),
            _over(self.timeout, route.timeout),
            _over(self.limits, route.limits),
        )

    async def outgoing(self) -> Outgoing:
        """Return which outgoing proxy leads where.

        Raises:
            ConfigError: the URL of one can't be had, or is none.

        """
        return await proxy_choice.outgoing(self._proxies(), self.routes, self.credentials)

    def _proxies(self) -> Choice:
        return Choice().with_own(ProxySettings.model_construct(proxy=self.proxy, no_proxy=self.no_proxy), ())

    def conflicts(self) -> Iterator[Mistake]:
        """Credentials that need an outgoing proxy of their own."""
        return proxy_choice.conflicts(self._proxies(), self.routes, self.credentials)

    def secrets(self) -> Iterator[tuple[KeyPath, Source]]:
        """Key path and source of every secret, those of inline credentials included."""
        yield from self._own_secrets()
        for name, route in self.routes.items():
            for field, source in route.request_headers.secrets():
                yield ("routes", name, "request_headers", "set", field), source
        for path, proxy in self._outgoing_proxies():
            if proxy is not None and proxy.is_secret:
                yield (*path, "proxy"), proxy.source
        for path, credential in self._used():
            for below, source in credential.secrets():
                yield (*path, *((below,) if isinstance(below, str) else below)), source

    def _outgoing_proxies(self) -> Iterator[tuple[KeyPath, OutgoingProxy | None]]:
        yield (), self.proxy
        yield from ((("routes", name), route.proxy) for name, route in self.routes.items())
        yield from ((path, own.proxy) for path, each in self._used() if (own := own_proxy(each)) is not None)

    def _own_secrets(self) -> Iterator[tuple[KeyPath, Source]]:
        for section, table in (("server", self.server), ("tokens", self.tokens)):
            for key in type(table).model_fields:
                yield from _sources((section, key), getattr(table, key))

    def signing_keys(self) -> Iterator[tuple[KeyPath, LoadKey]]:
        """Key path of every secret that has to be a key that signs, and what reads it as that."""
        for path, credential in self._used():
            yield from (((*path, key), load) for key, load in credential.signing_keys())

    @property
    def environment(self) -> Environment:
        """The environment that it was read with; to be adopted with it."""
        return self._environment

    def _withhold(self) -> None:
        """Keep the proxy's own secrets from the programs that it starts; a credential's may be meant for them."""
        names = (name for _, source in self._own_secrets() for name in source.variables)
        self._environment.withheld = frozenset(names)

    def certificates(self) -> Iterator[tuple[KeyPath, TlsSettings]]:
        """Key path and settings of every ``tls``: of routes, and of credentials that have one."""
        for name, route in self.routes.items():
            yield ("routes", name, "tls"), route.tls
        for path, credential in self._used():
            tls = getattr(credential, "tls", None)
            if isinstance(tls, TlsSettings):
                yield (*path, "tls"), tls

    def _used(self) -> Iterator[tuple[KeyPath, Credential]]:
        for name, credential in self.credentials.items():
            yield ("credentials", name), credential
        for name, route in self.routes.items():
            if isinstance(route.credential, Credential):
                yield ("routes", name, "credential"), route.credential


def _sources(path: KeyPath, value: object) -> Iterator[tuple[KeyPath, Source]]:
    if isinstance(value, Source):
        yield path, value
    elif isinstance(value, tuple):
        for at, each in enumerate(value):
            yield from _sources((*path, str(at)), each)


T = TypeVar("T", bound=Model)


def _over(general: T, own: T) -> T:
    return general.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


# -- reading -----------------------------------------------------------------------------------------------


def load(path: Path | None = None, overrides: Table | None = None, *, use_file: bool = True) -> Settings:
    """As `read`; what is read holds for the process from now on."""
    settings = read(path, overrides, use_file=use_file)
    settings.environment.adopt()
    return settings


def read(path: Path | None = None, overrides: Table | None = None, *, use_file: bool = True) -> Settings:
    """Read the configuration, and change nothing by it.

    Args:
        path: the file; None for the one that `layers.find` finds.
        overrides: what the command line says, as the file would have it.
        use_file: False if there shall be no file at all.

    Raises:
        ConfigError: with every mistake.

    """
    with Environment().staged():
        return _read(path, overrides or {}, use_file=use_file)


def _read(path: Path | None, overrides: Table, *, use_file: bool) -> Settings:
    layers = gather(path, overrides, use_file=use_file)
    mistakes = _strangers(layers)
    table: Table = {"tokens": {}} | merged(layers, is_secret_table)  # its default may be a mistake
    settings, found = _validated(table)
    mistakes |= {*found, *consistency.references(table), *_inconsistent(settings, found, table, layers)}
    if mistakes:
        raise ConfigError("\n".join(_located(mistake, layers) for mistake in sorted(mistakes)))
    settings._withhold()
    settings._file, settings._sources = layers[0].file, tuple(sources(layers))
    return settings


# Where no route is left, or nothing that says where tokens are.
_STAND_IN: Table = {"routes": {"": {"upstream": "http://localhost"}}, "tokens": {"store": "memory"}}


def _validated(table: Table) -> tuple[Settings, set[Mistake]]:
    """Return what is right in a configuration, and the mistakes in the rest."""
    mistakes: set[Mistake] = set()
    try:
        return Settings.model_validate(table), mistakes
    except ValidationError as failure:
        mistakes |= _explained(failure)
    try:  # without unknown keys, so that they don't hide what stands beside them
        Settings.model_validate(_without(table, {mistake.path for mistake in mistakes if mistake.is_unknown}))
    except ValidationError as failure:
        mistakes |= _explained(failure)
    # No route and no credential depends on another one, no key of the other tables on its neighbour.
    rest = _without(table, {mistake.path[:2] for mistake in mistakes})
    return Settings.model_validate(rest | {key: rest.get(key) or value for key, value in _STAND_IN.items()}), mistakes


def _explained(failure: ValidationError) -> set[Mistake]:
    return set(explain(failure, _schema()))


@cache
def _schema() -> Table:
    return Settings.model_json_schema(mode="validation")


def _without(table: Table, paths: set[KeyPath]) -> Table:
    kept = {key: value for key, value in table.items() if (key,) not in paths}
    for key, value in kept.items():
        below = {path[1:] for path in paths if path[0] == key}
        if below and isinstance(value, dict):
            kept[key] = _without(value, below)
    return kept


def _inconsistent(settings: Settings, found: set[Mistake], table: Table, layers: list[Layer]) -> Iterator[Mistake]:
    """What no key can tell alone; what is wrong already is not judged again."""
    server, routes = settings.server, settings.routes
    secrets = [path for path, _ in settings.secrets()]
    yield from consistency.overlaps(routes, server.listen, server.admin if settings.has_admin else "")
    yield from consistency.cycles(settings.credentials)
    yield from settings.conflicts()
    yield from consistency.certificates(settings.certificates())
    yield from consistency.empty(secrets, table)
    references = list(
        consistency.texts([path for path, source in settings.secrets() if source.kind == "literal"], layers)
    )
    yield from references
    others = [path for path in secrets if path not in {mistake.path for mistake in references}]
    for layer in layers:
        if layer.file is not None:
            yield from consistency.readable(others, layer.file, layer.table)
    wrong = {mistake.path[1] for mistake in found if mistake.path[:1] == ("server",) and len(mistake.path) > 1}
    if server.client_token is None and not server.trust_network and not wrong & {"client_token", "trust_network"}:
        listened: list[tuple[KeyPath, str]] = [(("server", "listen"), address) for address in server.listen]
        listened += [(("routes", name, "listen"), route.listen or "") for name, route in routes.items()]
        yield from consistency.exposed(listened, "server.client_token, or server.trust_network = true")
    if server.admin_token is None and "admin_token" not in wrong:
        yield from consistency.exposed([(("server", "admin"), server.admin)], "server.admin_token")


def _located(mistake: Mistake, layers: list[Layer]) -> str:
    """Say where a mistake stands: in the strongest of the layers that have most of its key path."""
    if mistake.place:
        return f"{mistake.place}: {mistake}"
    depths = [layer.depth(mistake.path) for layer in layers]
    layer = layers[0] if not any(depths) else layers[max(range(len(layers)), key=lambda at: (depths[at], at))]
    return f"{layer.place(mistake.path)}: {mistake}"


def _strangers(layers: list[Layer]) -> set[Mistake]:
    """Take away variables that mean nothing, which are mistyped ones; those that hold secrets are none."""
    named = {name.upper() for name in _env_secrets(merged(layers))}
    mistakes = set()
    for layer in layers:
        for path, place in layer.variables.items():
            if path[0] not in Settings.model_fields:
                layer.table.pop(path[0], None)
                words = "__".join(path).upper()
                if PREFIX + words not in named:
                    text = f"means nothing; right would be {_nearest_variable(words)}"
                    mistakes.add(Mistake((), text, place))
    return mistakes


def _env_secrets(table: object) -> Iterator[str]:
    if isinstance(table, dict):
        if isinstance(table.get("env"), str):
            yield table["env"]
        for value in table.values():
            yield from _env_secrets(value)


def _nearest_variable(words: str) -> str:
    """Return the variable that was probably meant; `words` is a name without what all have in common."""
    sections = [section.upper() for section in Settings.model_fields]
    section, double, rest = words.partition("__")
    right = nearest(section, sections) if double else ""
    if right in sections:
        return f"{PREFIX}{right}__{rest}"
    models: dict[str, type[Model]] = {"SERVER": ServerSettings, "TOKENS": TokenSettings, "RETRY": RetrySettings,
              "TIMEOUT": TimeoutSettings, "LIMITS": LimitSettings}  # fmt: skip
    known = [
        "CONFIG",
        "PROXY",
        "NO_PROXY",
        *(f"{name}__{key.upper()}" for name, model in models.items() for key in model.model_fields),
    ]
    right = nearest(words, known)
    return PREFIX + right if right in known else f"one that begins with {', '.join(PREFIX + each for each in sections)}"
