"""What libraries do when they are imported, and need not before it is used."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Later(ssl.SSLContext):
    """A context without the system's certificates; it becomes an ordinary one that has them when it is used."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:  # Any: handed on
        self._load()
        return self.wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:  # Any: handed on
        self._load()
        return self.wrap_socket(*args, **kwargs)

    def _load(self) -> None:
        self.__class__ = ssl.SSLContext  # type: ignore[assignment]  # of the same layout
        self.load_default_certs()


@contextmanager
def certificates_later() -> Iterator[None]:
    """Have TLS contexts that are made within the block read the system's certificates when they are first used.

    aiohttp's client makes two, which nobody here uses: a fifth of a start. Nothing is verified less: a context that
    has no certificates trusts nobody.
    """

    def later(context: ssl.SSLContext, *_: Any) -> None:  # Any: a purpose, or nothing
        context.__class__ = _Later

    load, paths = ssl.SSLContext.load_default_certs, ssl.SSLContext.set_default_verify_paths
    ssl.SSLContext.load_default_certs = later  # type: ignore[method-assign, assignment]  # for this block only
    ssl.SSLContext.set_default_verify_paths = later  # type: ignore[method-assign, assignment]  # for this block only
    try:
        yield
    finally:
        ssl.SSLContext.load_default_certs = load  # type: ignore[method-assign]  # as it was
        ssl.SSLContext.set_default_verify_paths = paths  # type: ignore[method-assign]  # as it was
