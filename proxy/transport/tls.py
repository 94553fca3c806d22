"""TLS towards upstreams and token endpoints: verification is on, and contexts are made once."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from functools import partial
from weakref import WeakKeyDictionary

import certifi

from proxy import environment
from proxy.environment import Environment
from proxy.errors import ConfigError
from proxy.values import FilePath, Model


class TlsSettings(Model):
    """``tls`` of a route: trusted authorities, a client certificate."""

    ca: FilePath | None = None
    cert: FilePath | None = None
    key: FilePath | None = None
    verify: bool = True


_DEFAULT = TlsSettings()
_Kept = dict[tuple[TlsSettings, str], ssl.SSLContext]
_kept: WeakKeyDictionary[Environment, _Kept] = WeakKeyDictionary()


def bound() -> Callable[..., ssl.SSLContext]:
    """Return `context` as it is for the configuration that is read or built now, whichever is adopted later."""
    return partial(_context, _kept.setdefault(environment.current(), {}))


def context(settings: TlsSettings = _DEFAULT, protocol: str = "http/1.1") -> ssl.SSLContext:
    """Return the context for `settings`; without ``ca``, the system's authorities and Mozilla's.

    Each `protocol` (of ALPN) has a context of its own: what is offered is a property of the context. It is made once
    for each reading of the configuration: a file may have been renewed under its name.

    Raises:
        ConfigError: a file is missing or no certificate.

    """
    return bound()(settings, protocol)


def _context(kept: _Kept, settings: TlsSettings = _DEFAULT, protocol: str = "http/1.1") -> ssl.SSLContext:
    if (settings, protocol) not in kept:
        kept[settings, protocol] = _made(settings, protocol)
    return kept[settings, protocol]


def _made(settings: TlsSettings, protocol: str) -> ssl.SSLContext:
    try:
        made = ssl.create_default_context(cafile=None if settings.ca is None else str(settings.ca))
        if settings.ca is None and not ({"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys()):
            # Slim images have no authorities of their own.
            made.load_verify_locations(certifi.where())
        if settings.cert is not None:
            # Without a password OpenSSL would ask for one on the terminal.
            made.load_cert_chain(settings.cert, settings.key, password="")
    except (OSError, ssl.SSLError) as failure:
        named = ", ".join(str(path) for path in (settings.ca, settings.cert, settings.key) if path is not None)
        raise ConfigError(f"tls: {named}: can't be used ({failure.strerror or type(failure).__name__})") from None
    # The system may have set a lower one for all programs, as Debian does.
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not settings.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    made.set_alpn_protocols([protocol])
    return made
