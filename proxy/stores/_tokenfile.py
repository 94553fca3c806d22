"""The blocking half of the file store: all tokens in one file, changed under an inter-process lock.

For one thread at a time. Failures of the operating system become `StoreError` here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from proxy.errors import StoreError
from proxy.stores._cipher import Cipher
from proxy.stores._disk import Signature, read_safely, replace, set_aside, signature, sweep
from proxy.stores._format import DamagedError, decode, encode
from proxy.stores._locks import locked_in_thread
from proxy.stores._token import Token

PATIENCE = 10.0
"""Seconds that another process may take for a write, which needs milliseconds."""

_FRESH = 100_000_000
"""Nanoseconds in which a second change could leave the times of a file as they are."""


class TokenFile:
    """The file `path`; `warn` is told, in whatever thread, what was set aside."""

    def __init__(self, path: Path, cipher: Cipher | None, warn: Callable[[str], None]) -> None:
        self.path = path
        self._cipher = cipher
        self._warn = warn
        self._seen: tuple[Signature | None, Mapping[str, Token]] | None = None

    def current(self) -> Mapping[str, Token]:
        """Return what the file holds, for the price of one ``lstat`` if it is still the same; else as `read`."""
        known = self.unchanged()
        return self.read() if known is None else known

    def unchanged(self) -> Mapping[str, Token] | None:
        """Return what `read` found last if the file is still the same, None if it is not."""
        seen = self._seen
        if seen is None:
            return None
        try:
            now = signature(self.path.lstat())
        except FileNotFoundError:
            now = None
        except OSError:
            return None
        return seen[1] if seen[0] == now else None

    def is_there(self) -> bool:
        """Whether there is such a file, if only one without tokens: else what it held is lost, not forgotten."""
        return self.path.exists()

    def distrust(self) -> None:
        """Read the file itself the next time."""
        self._seen = None

    def read(self) -> Mapping[str, Token]:
        """Return what the file holds. A damaged one is set aside and told, and held nothing.

        Raises:
            StoreError: it can't be read.

        """
        try:
            with self._told("read"):
                return self._read()
        except DamagedError as damage:
            with self._told(f"set aside, though it {damage}"), self._writing():
                return self._read_or_set_aside()

    def put(self, name: str, token: Token | None) -> None:
        """Put `token` in place of what `name` has, or nothing for None; others' changes stay.

        Raises:
            StoreError: it can't be written, or not be read before.

        """
        with self._told("written"), self._writing():
            tokens = dict(self._read_or_set_aside())
            if token is not None:
                tokens[name] = token
            elif tokens.pop(name, None) is None:
                return
            sweep(self.path)
            replace(self.path, encode(tokens, self._cipher))
            self.distrust()

    def make_folder(self) -> None:
        """Make sure that the folder is there, mode 0700 if it is new.

        Raises:
            OSError: it can't be made.

        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _read(self) -> Mapping[str, Token]:
        found = read_safely(self.path)
        if found is None:
            self._seen = None, {}
            return {}
        tokens = decode(found[1], self._cipher, is_guarded=True)
        self._seen = (found[0], tokens) if self._settled(found[0]) else None
        return tokens

    def _settled(self, seen: Signature) -> bool:
        # The kernel's file times move in steps of some milliseconds, and inodes are used again.
        return time.time_ns() - max(seen[3:5]) > _FRESH

    def _read_or_set_aside(self) -> Mapping[str, Token]:
        try:
            return self._read()
        except DamagedError as damage:
            target = set_aside(self.path)
            self._warn(f"the token store {self.path} {damage}; it was set aside as {target} and is empty now")
            return {}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self.make_folder()
        with locked_in_thread(self.path.with_name(self.path.name + ".lock"), PATIENCE):
            yield

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        where = f"the token store {self.path}"
        try:
            yield
        except StoreError as failure:
            raise StoreError(f"{where} {failure}") from None
        except TimeoutError:
            raise StoreError(f"{where} can't be {done}: another process holds its lock") from None
        except OSError as failure:
            raise StoreError(f"{where} can't be {done}: {failure.strerror}") from None
