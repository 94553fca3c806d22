"""``python -m tests.fuzz``: many inputs for each target, in a process each.

With atheris, inputs that reach something new are kept and mutated further; without it they are mutated blindly.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

ROOM = Path.cwd() / ".fuzz"  # a target may go elsewhere
MILLION = 1_000_000
SLOWEST = 10  # seconds for one input
LARGEST = 4096  # bytes of one
MEMORY = 2048  # MiB


def main() -> int:
    """Do as the command line says; 1 if a law was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help="all of them by default")
    parser.add_argument("--inputs", type=int, help="for each target; a million are shared out by default")
    parser.add_argument("--file", type=Path, help="one input: what made a target fail")
    parser.add_argument("--blindly", action="store_true", help="as where there is no atheris")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return (_blindly if options.blindly else work)(options.names[0], options.inputs)
    from tests.fuzz import targets

    known = targets()
    if unknown := set(options.names) - known.keys():
        parser.error(f"no such target: {', '.join(unknown)}; right would be {', '.join(known)}")
    if options.file is not None:
        known[options.names[0]].check(options.file.read_bytes())
        return 0
    names = options.names or list(known)
    inputs = options.inputs or -(-MILLION // len(names))
    failed = [name for name in names if not fuzz(name, inputs, blindly=options.blindly)]
    return 1 if failed else 0


def fuzz(name: str, inputs: int, *, blindly: bool) -> bool:
    """Run one target, and tell how that was; whether no law was broken."""
    began = time.monotonic()
    room = ROOM / name
    room.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "tests.fuzz", "--worker", "--inputs", str(inputs), name]
    if blindly or find_spec("atheris") is None:
        words.append("--blindly")
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    covered = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)
    reached = f", {covered[-1][0]} branches" if covered else ""
    outcome = "FAILED" if done.returncode else ""
    print(f"{name:<18} {inputs:>8} inputs {time.monotonic() - began:>6.0f} s{reached}  {outcome}".rstrip(), flush=True)
    if done.returncode:
        print(done.stderr[-4000:], flush=True)
    return done.returncode == 0


def work(name: str, inputs: int) -> int:
    """Be the process of one target."""
    logging.disable(logging.CRITICAL)
    atheris: Any = importlib.import_module("atheris")  # Any: has no types
    with atheris.instrument_imports(include=["proxy", "tomllib", "netrc", "email"]):
        from tests.fuzz import targets

        target = targets()[name]
    room = ROOM / name
    seeds = room / "seeds"
    seeds.mkdir(exist_ok=True)
    for at, seed in enumerate(target.seeds):
        (seeds / str(at)).write_bytes(seed)
    (room / "words").write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    (room / "corpus").mkdir(exist_ok=True)
    flags = [
        f"-runs={inputs}",
        f"-max_len={LARGEST}",
        f"-timeout={SLOWEST}",
        f"-rss_limit_mb={MEMORY}",
        f"-dict={room}/words",
        f"-artifact_prefix={room}/",
    ]

    def check(data: bytes) -> None:
        target.check(data)

    atheris.Setup([sys.argv[0], *flags, str(room / "corpus"), str(seeds)], check)
    atheris.Fuzz()
    return 0


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _blindly(name: str, inputs: int) -> int:
    logging.disable(logging.CRITICAL)
    from tests.fuzz import targets
    from tests.fuzz.mutation import inputs as mutated

    target = targets()[name]
    for _, data in zip(range(inputs), mutated(target, Random()), strict=False):
        try:
            target.check(data)
        except BaseException:
            (ROOM / name / "crash-last").write_bytes(data)
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
