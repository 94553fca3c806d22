"""TLS towards upstreams and token endpoints: verification is on, and contexts are made once."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from pathlib import Path

import certifi

from proxy.errors import ConfigError
from proxy.values import Model


class TlsSettings(Model):
    """``tls`` of a route: trusted authorities, a client certificate."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True


_DEFAULT = TlsSettings()


@lru_cache(maxsize=64)
def context(settings: TlsSettings = _DEFAULT, protocol: str = "http/1.1") -> ssl.SSLContext:
    """Return the context for `settings`; without ``ca``, the system's authorities and Mozilla's.

    Each `protocol` (of ALPN) has a context of its own: what is offered is a property of the context.

    Raises:
        ConfigError: a file is missing or no certificate.

    """
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


def forget() -> None:
    """Make contexts anew when they are next asked for: a file may have been renewed under its name."""
    context.cache_clear()
