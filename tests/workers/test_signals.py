"""Signals as bytes."""

from __future__ import annotations

import os
import signal

from proxy.workers.signals import SIGNALS, heard


def test_each_signal_is_a_byte_and_what_was_before_is_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with heard() as signals:
        for number in SIGNALS:
            os.kill(os.getpid(), number)
        found = b""
        while len(found) < len(SIGNALS):
            found += signals.recv(64)
    assert sorted(found) == sorted(SIGNALS)
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1
