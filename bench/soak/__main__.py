"""``python -m bench.soak``: begin, find out how much it takes, load it with half of that, and judge."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import aiohttp
import uvloop

from bench.process import Process, StartError, free_port, running
from bench.soak.clients import KINDS, Client, WrongError
from bench.soak.watch import Sample, trends

_CONFIG = """
[server]
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
admin_token = {{ file = "{home}/admin" }}
workers = {workers}
shutdown_grace = "3s"
[tokens]
path = "{home}/tokens.json"
[timeout]
read = "4s"
[retry]
max_wait = "5s"
[limits]
replay_memory = "1MiB"
replay_disk = "2MiB"
[credentials.static{generation}]
type = "bearer"
token = {{ file = "{home}/secret" }}
[credentials.short]
type = "oauth2"
grant = "client_credentials"
token_url = "http://127.0.0.1:{api}/token"
client_id = "soak"
client_secret = {{ file = "{home}/secret" }}
[routes.plain]
prefix = "/plain"
upstream = "http://127.0.0.1:{api}"
credential = "static{generation}"
[routes.slow]
prefix = "/slow"
upstream = "http://127.0.0.1:{api}"
[routes.tokens]
prefix = "/tokens"
upstream = "http://127.0.0.1:{api}"
credential = "short"
[routes.other{generation}]
prefix = "/other{generation}"
upstream = "http://127.0.0.1:{api}"
"""
_ADMIN = "admin-token-of-the-soak"
_RELOAD, _LOOK, _REST = 15.0, 1.0, 30.0  # seconds: between two of them, and until all is quiet
_MANY, _MOST = 200, 400  # clients at once: while the most is found, and after that
_LEFT = 6  # tasks or descriptors, in each worker: what has only been opened by the first request
_LEAST = 0.9  # of all must go well, or it is no soak of anything but failures


class Soak:
    """One run.

    Attributes:
        outcomes: how often each kind of client saw what.
        wrong: what must not be.
        put_off: how many were never sent, since too many others were not over.

    """

    def __init__(self, options: argparse.Namespace, home: Path, ports: dict[str, int], proxy: Process) -> None:
        self._options = options
        self._home = home
        self._ports = ports
        self._proxy = proxy
        self._random = Random(options.seed)
        self._clients: set[asyncio.Task[None]] = set()
        self._number = 0
        self._generation = 0
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        self.put_off = 0
        self.samples: list[Sample] = []

    # -- load ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Do all of it."""
        limits = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=20)
        async with aiohttp.ClientSession(connector=connector, timeout=limits) as session:
            self._client = Client(session, f"http://127.0.0.1:{self._ports['port']}", self._random)
            self._session = session
            self.before = await self.sample(0.0)
            rate = self._options.rate or await self._top() / 2
            self.outcomes.clear()
            print(f"{rate:.0f} requests/s for {self._options.minutes:g} minutes, seed {self._options.seed}", flush=True)
            beside = [asyncio.create_task(self._look()), asyncio.create_task(self._reload())]
            cpu, start = self._proxy.cpu(), time.monotonic()
            await self._load(rate, self._options.minutes * 60)
            self.cpu = (self._proxy.cpu() - cpu) / (time.monotonic() - start)
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await asyncio.gather(*self._clients)
        await self._come_to_rest()

    async def _top(self) -> float:
        """Return how many requests in a second come to their end where many clients ask without a pause."""
        begun, until = time.monotonic(), time.monotonic() + self._options.calibrate
        while time.monotonic() < until:
            while len(self._clients) < _MANY:
                self._begin()
            await asyncio.wait(self._clients, return_when=asyncio.FIRST_COMPLETED)
        top = sum(self.outcomes.values()) / (time.monotonic() - begun)
        await asyncio.gather(*self._clients)
        print(f"at most {top:.0f} requests/s", flush=True)
        return top

    async def _load(self, rate: float, seconds: float) -> None:
        start, begun = time.monotonic(), 0
        while (passed := time.monotonic() - start) < seconds and not self.wrong:
            while begun < passed * rate:
                begun += 1
                if len(self._clients) < _MOST:
                    self._begin()
                else:
                    self.put_off += 1
            await asyncio.sleep(0.01)

    def _begin(self) -> None:
        (kind,) = self._random.choices(list(KINDS), [share for share, _ in KINDS.values()])
        self._number += 1
        task = asyncio.create_task(self._ask(kind, self._number))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _ask(self, kind: str, number: int) -> None:
        try:
            self.outcomes[kind, await self._client.ask(kind, number)] += 1
        except WrongError as failure:
            self.wrong.append(str(failure))

    # -- beside it -----------------------------------------------------------------------------------

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(_RELOAD)
            self._generation += 1
            (self._home / "secret").write_text(f"secret-{self._generation}\n")
            configure(self._home, self._ports, self._options.workers, self._generation)
            self._proxy.tell(signal.SIGHUP)

    async def _look(self) -> None:
        start = time.monotonic()
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                self.samples.append(await self.sample(time.monotonic() - start))
            await asyncio.sleep(_LOOK)

    async def sample(self, seconds: float) -> Sample:
        """Look once."""
        tasks = re.search(r"^countersign_tasks (\S+)", await self._page("metrics"), re.MULTILINE)
        connections = int(json.loads(await self._page("api/status"))["connections"])
        beside = (float(tasks[1]) if tasks else 0.0) - connections
        return Sample(seconds, self._proxy.resident(), len(self._proxy.descriptors()), beside, connections)

    async def _page(self, name: str) -> str:
        url = f"http://127.0.0.1:{self._ports['admin']}/{name}?token={_ADMIN}"
        async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=10)) as response:
            return await response.text()

    async def _come_to_rest(self) -> None:
        """See what is left when nobody is there any more."""
        async with aiohttp.ClientSession() as self._session:
            until = time.monotonic() + _REST
            while time.monotonic() < until:
                self.rest = await self.sample(0.0)
                if self.rest.descriptors <= self.before.descriptors and self.rest.tasks <= self.before.tasks:
                    break
                await asyncio.sleep(0.5)
        self.open = Counter(re.sub(r"\d+", "", link) for link in self._proxy.descriptors())

    # -- the verdict ---------------------------------------------------------------------------------

    def verdict(self, log: str, code: int) -> list[str]:
        """Return what is not as it should be."""
        found = list(self.wrong)
        good = sum(count for (_, outcome), count in self.outcomes.items() if outcome == "ok")
        if good < _LEAST * sum(self.outcomes.values()):
            found.append("too few of the requests went well")
        found += [f"{trend.name} grew" for trend in trends(self.samples) if not trend.is_flat]
        for name in ("descriptors", "tasks"):
            left, before = getattr(self.rest, name), getattr(self.before, name)
            if left > before + _LEFT * self._options.workers:
                found.append(f"{left:.0f} {name} are left, {before:.0f} were there before")
        if "Traceback" in log or "unexpected" in log:
            found.append("the log tells of a defect")
        if log.count('"reloaded"') < self._generation:
            found.append("a reload failed")
        if code:
            found.append(f"exit code {code}")
        return found

    def tables(self) -> str:
        """Return the figures."""
        lines = [f"{'kind':<12}{'outcome':<48}{'count':>9}"]
        lines += [f"{kind:<12}{outcome:<48}{count:>9,}" for (kind, outcome), count in sorted(self.outcomes.items())]
        lines += ["", f"{'':<12}{'2nd quarter':>12}{'last quarter':>14}{'per hour':>12}{'before':>10}{'at rest':>10}"]
        for trend in trends(self.samples):
            ends = "".join(f"{getattr(sample, trend.name):>10.1f}" for sample in (self.before, self.rest))
            lines.append(f"{trend.name:<12}{trend.early:>12.1f}{trend.late:>14.1f}{trend.slope:>+12.1f}{ends}")
        total = sum(self.outcomes.values())
        lines += [
            "",
            f"{total:,} requests, {self.put_off:,} more put off, {self._generation} reloads, {self.cpu:.2f} of a core",
        ]
        return "\n".join(lines)


def configure(home: Path, ports: dict[str, int], workers: int, generation: int) -> None:
    """Write the proxy's configuration."""
    text = _CONFIG.format(home=home, workers=workers, generation=generation, **ports)
    new = home / "new.toml"
    new.write_text(text)
    new.replace(home / "countersign.toml")


def main() -> int:
    """Return the exit code: 1 if something is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=sys.modules["bench.soak"].__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="requests in a second, in place of half of the most")
    parser.add_argument("--calibrate", type=float, default=15.0, help="seconds in which the most is found")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing that was started stays behind
    ports = {name: free_port() for name in ("port", "admin", "api")}
    with tempfile.TemporaryDirectory(prefix="countersign-soak-") as folder, ExitStack() as stack:
        home = Path(folder)
        (home / "secret").write_text("secret-0\n")
        (home / "admin").write_text(_ADMIN)
        configure(home, ports, options.workers, 0)
        api = [sys.executable, "-m", "bench.soak.api", str(ports["api"]), str(options.seed)]
        proxy = [sys.executable, "-m", "proxy", "run", "--config", str(home / "countersign.toml"), "--no-access-log"]
        stack.enter_context(running(api, 1, ports["api"], home / "api.log"))
        process = stack.enter_context(running(proxy, 0, ports["port"], home / "proxy.log"))
        soak = Soak(options, home, ports, process)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            loop.run(soak.run())
        code = process.end()
        log = (home / "proxy.log").read_text()
    print(soak.tables())
    faults = soak.verdict(log, code)
    if faults:
        print("\nat rest:", dict(soak.open))
        print("\n".join(["", "NOT WELL:", *faults[:20]]))
        said = [line for line in log.splitlines() if '"level": "error"' in line or "defect" in line]
        print("\n".join(said[-20:]))
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StartError as failure:
        sys.exit(str(failure))
