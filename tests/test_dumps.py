from __future__ import annotations

import resource
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
from proxy import dumps
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
before = min(4096, hard) if hard >= 0 else 4096
resource.setrlimit(resource.RLIMIT_CORE, (before, hard))
for step in sys.argv[1:]:
    dumps.forbid(for_now=True) if step == "for_now" else getattr(dumps, step)()
soft = resource.getrlimit(resource.RLIMIT_CORE)[0]
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), "none" if not soft else "as before" if soft == before else soft)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
@pytest.mark.parametrize(
    ("steps", "state"),
    [
        (["forbid"], "0 none"),
        (["for_now"], "0 none"),
        (["for_now", "forbid"], "0 none"),
        (["for_now", "allow"], "1 as before"),
        (["for_now", "for_now", "allow"], "1 as before"),
        (["for_now", "allow", "forbid"], "0 none"),
        (["allow"], "1 as before"),
    ],
)
def test_nobody_may_look_into_it_unless_that_is_allowed_again(steps: list[str], state: str) -> None:
    command = [sys.executable, "-c", PROGRAM, *steps]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if "none" not in state and resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        state = state.partition(" ")[0] + " none"  # where the hard limit is 0, there is nothing to restore
    assert done.stdout.strip() == state  # PR_GET_DUMPABLE
