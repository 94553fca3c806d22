"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from bench.contenders import Contender


def describe(contenders: Sequence[Contender]) -> dict[str, str]:
    """Return processor, kernel, load at the start, and the contenders' versions."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": f"{os.cpu_count()} x {found[1] if found else platform.machine()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "load": f"{os.getloadavg()[0]:.2f} in the minute before",
        **{each.name: each.about() for each in contenders},
    }
