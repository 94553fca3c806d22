from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource
from proxy import dumps
dumps.forbid()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
def test_nobody_may_look_into_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 (0, 0)"  # PR_GET_DUMPABLE
