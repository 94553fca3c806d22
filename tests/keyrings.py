"""A keyring of the test's own, in place of the machine's."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError


class OwnKeyring(KeyringBackend):
    """Keeps what it is given for as long as the test lasts.

    Attributes:
        entries: by service and user.
        failure: raised by whatever is asked, if it is not None.
        asked: how often.
        gate: what a question waits for.

    """

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated
        self.entries: dict[tuple[str, str], str] = {}
        self.failure: Exception | None = None
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()

    def get_password(self, service: str, username: str) -> str | None:
        self.asked += 1
        self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.entries:
            raise PasswordDeleteError
        del self.entries[service, username]


@pytest.fixture
def own_keyring() -> Iterator[OwnKeyring]:
    before = keyring.core._keyring_backend
    own = OwnKeyring()
    keyring.set_keyring(own)
    yield own
    own.gate.set()
    keyring.core._keyring_backend = before
