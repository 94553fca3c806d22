"""Signals as bytes."""

from __future__ import annotations

import os
import signal

from proxy.workers.signals import SIGNALS, heard


def test_each_signal_is_a_byte_and_later_ones_are_ignored_since_the_process_ends() -> None:
    with heard() as signals:
        for number in SIGNALS:
            os.kill(os.getpid(), number)
        found = b""
        while len(found) < len(SIGNALS):
            found += signals.recv(64)
    assert sorted(found) == sorted(SIGNALS)
    assert [signal.getsignal(number) for number in SIGNALS] == [signal.SIG_IGN] * len(SIGNALS)
    assert signal.set_wakeup_fd(-1) == -1
