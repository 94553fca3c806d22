"""Side by side: CPU per request, requests per second, latency and memory of reverse proxies on one core.

    python bench/side_by_side.py [--seconds 5] [--rounds 3] [--connections 32]

The proxies take turns on core 0; the API (nginx) and the load (wrk) share core 1. Absolute times mean nothing
on shared machines: what counts is the ratio to Caddy in the same run. What is missing on the machine is said
and skipped.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

BODY = "x" * 280
TICK = os.sysconf("SC_CLK_TCK")

NGINX = """
worker_processes 1; daemon off; pid {home}/nginx.pid; error_log {home}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type text/plain; return 200 "{body}"; }}
  }}
}}
"""
CADDY = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  reverse_proxy 127.0.0.1:{api} {{
    header_up Authorization "Bearer benchmark"
  }}
}}
"""
COUNTERSIGN = """
[server]
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
[routes.api]
upstream = "http://127.0.0.1:{api}"
credential = {{ type = "bearer", token = {{ env = "BENCH_TOKEN" }} }}
"""


@dataclass
class Contender:
    """One proxy: how it is started, and what was measured of it round by round."""

    name: str
    command: list[str]
    port: int
    cpu: list[float] = field(default_factory=list)  # microseconds for each request
    rate: list[float] = field(default_factory=list)  # requests per second
    p50: list[float] = field(default_factory=list)  # milliseconds
    p99: list[float] = field(default_factory=list)
    memory: float = 0.0  # MiB


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], core: int, port: int) -> Iterator[int]:
    """Run `command` on one core until the end of the block; yields its process id once it listens."""
    environment = {**os.environ, "BENCH_TOKEN": "benchmark", "GOMAXPROCS": "1"}
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(200):
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            sys.exit(f"{command[0]} does not listen on port {port}")
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def tree(pid: int) -> list[int]:
    """Return `pid` and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in tree(int(child)))]


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process tree so far."""
    fields = [Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split() for each in tree(pid)]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICK


def memory(pid: int) -> float:
    """Return resident memory of a process tree in MiB."""
    found = [re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{each}/status").read_text()) for each in tree(pid)]
    return sum(int(each[1]) for each in found if each) / 1024


def load(port: int, seconds: int, connections: int) -> tuple[int, float, float, float]:
    """Return requests, requests per second, and median and 99th percentile of the latency in ms."""
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency"]
    out = subprocess.run([*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        print(out, file=sys.stderr)
    requests = re.search(r"(\d+) requests in", out)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    assert requests
    assert rate
    return int(requests[1]), float(rate[1]), _milliseconds(out, "50%"), _milliseconds(out, "99%")


def _milliseconds(out: str, percentile: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)", out)
    assert found
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


def contenders(home: Path, api: int) -> list[Contender]:
    """Return what there is on this machine; what is missing is said."""
    found = []
    port, admin = free_port(), free_port()
    config = home / "countersign.toml"
    config.write_text(COUNTERSIGN.format(port=port, admin=admin, api=api))
    command = [sys.executable, "-m", "proxy", "run", "--config", str(config), "--no-access-log"]
    found.append(Contender("countersign", command, port))
    if shutil.which("caddy"):
        port = free_port()
        (home / "Caddyfile").write_text(CADDY.format(port=port, api=api))
        command = ["caddy", "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"]
        found.append(Contender("caddy", command, port))
    else:
        print("caddy is missing (Debian: apt-get install caddy): no ratio", file=sys.stderr)
    return found


def measure(each: Contender, pid: int, seconds: int, connections: int) -> None:
    """Add one round."""
    before = cpu_seconds(pid)
    requests, rate, p50, p99 = load(each.port, seconds, connections)
    each.cpu.append((cpu_seconds(pid) - before) / requests * 1e6)
    each.rate.append(rate)
    each.p50.append(p50)
    each.p99.append(p99)
    each.memory = memory(pid)


def report(found: list[Contender]) -> None:
    """Print medians, and the ratio of the CPU to Caddy's round by round."""
    print(f"{'':12} {'us/request':>10} {'of Caddy':>8} {'req/s':>8} {'p50 ms':>7} {'p99 ms':>7} {'MiB':>6}")
    caddy = next((each for each in found if each.name == "caddy"), None)
    for each in found:
        ratio = ""
        if caddy is not None:
            ratio = f"{statistics.median(a / b for a, b in zip(each.cpu, caddy.cpu, strict=True)):.2f}"
        medians = [statistics.median(values) for values in (each.rate, each.p50, each.p99)]
        print(
            f"{each.name:12} {statistics.median(each.cpu):10.1f} {ratio:>8} "
            f"{medians[0]:8.0f} {medians[1]:7.2f} {medians[2]:7.2f} {each.memory:6.0f}"
        )


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="of load in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    for program, package in (("nginx", "nginx-light"), ("wrk", "wrk"), ("taskset", "util-linux")):
        if not shutil.which(program):
            sys.exit(f"{program} is missing (Debian: apt-get install {package})")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        api = free_port()
        (home / "nginx.conf").write_text(NGINX.format(home=home, port=api, body=BODY))
        stack.enter_context(running(["nginx", "-c", str(home / "nginx.conf")], 1, api))
        found = contenders(home, api)
        pids = [stack.enter_context(running(each.command, 0, each.port)) for each in found]
        for each in found:
            load(each.port, 1, options.connections)  # warm
        for _ in range(options.rounds):
            for each, pid in zip(found, pids, strict=True):
                measure(each, pid, options.seconds, options.connections)
        report(found)


if __name__ == "__main__":
    main()
