from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.secrets import _mounts
from proxy.secrets._mounts import is_remote

# As in proc(5), with none, one and two optional fields.
LINES = """\
22 26 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
26 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
60 26 0:45 / /home rw,relatime shared:30 master:2 - nfs4 server:/home rw,vers=4.2
61 26 0:46 / /mnt/secrets rw shared:31 - fuse.sshfs user@host: rw
62 26 0:47 / /run/secrets ro - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("device", "remote"), [((8, 1), False), ((0, 45), True), ((0, 46), True), ((0, 47), False), ((0, 99), False)]
)
def test_what_another_machine_or_program_serves_may_hang(
    device: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, remote: bool
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(LINES)
    monkeypatch.setattr(_mounts, "MOUNTS", mounts)
    assert is_remote(os.makedev(*device)) is remote


def test_where_the_system_does_not_say_it_none_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mounts, "MOUNTS", tmp_path / "missing")
    assert not is_remote(os.makedev(0, 45))
