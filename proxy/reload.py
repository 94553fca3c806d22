"""What a reload needs that no single configuration has: work beside the event loop, and what differs between two."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TypeVar

from proxy import places
from proxy.admin import Admin
from proxy.config import Settings
from proxy.credentials import Credential
from proxy.errors import CountersignError
from proxy.gateway.settings import RouteSettings
from proxy.generation import Generation
from proxy.log import Log
from proxy.stores import Setup, Store

T = TypeVar("T")

PATIENCE = 60.0  # seconds for all of a reload; the commands of secrets have less
RESTART = ("workers", "dumpable")
"""Keys of ``[server]`` that hold from the start of the process to its end."""


@dataclass(frozen=True, slots=True)
class Change:
    """A configuration that can be taken over; until then it has no effect.

    Attributes:
        store: a new one, or that which is in use.
        setup: what that is made with.
        admin: serves the admin listener.

    """

    generation: Generation
    store: Store
    setup: Setup
    admin: Admin
    admin_token: str = field(repr=False)

    async def end(
        self, settled: Callable[[], Awaitable[None]], defect: Callable[[Exception], None], *, kept: Store
    ) -> None:
        """As `close`, once its requests have completed, which is when `settled` returns, and its renewals."""
        try:
            await settled()
            await self.generation.settle()
        finally:
            await self.close(defect, kept=kept)

    async def close(self, defect: Callable[[Exception], None], *, kept: Store | None = None) -> None:
        """Close what it holds but for the store that is `kept`; `defect` gets what can't be closed."""
        for part in (self.generation, self.store):
            try:
                if part is not kept:
                    await part.aclose()
            except Exception as failure:  # noqa: BLE001  # whatever it is, the rest is closed
                defect(failure)


async def beside(work: Callable[[], T], late: Callable[[T], object] = lambda _: None) -> T:
    """Return what `work` returns, done in a thread of its own: the event loop and its threads are for requests.

    Args:
        work: what may take long.
        late: called with the result if this has been cancelled meanwhile.

    """
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[T] = loop.create_future()
    outcome: Future[T] = Future()

    def settle() -> None:
        failure = outcome.exception()
        if waiting.cancelled():
            if failure is None:
                late(outcome.result())
        elif failure is not None:
            waiting.set_exception(failure)
        else:
            waiting.set_result(outcome.result())

    def run() -> None:
        try:
            outcome.set_result(context.run(work))
        except Exception as failure:  # noqa: BLE001  # raised where it is awaited
            outcome.set_exception(failure)
        except BaseException as failure:  # noqa: BLE001  # as such it would end the event loop
            outcome.set_exception(RuntimeError(f"{type(failure).__name__} in a thread"))
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(settle)

    context = copy_context()
    threading.Thread(target=run, name="reload", daemon=True).start()
    return await waiting


def explained(failure: Exception, log: Log) -> str:
    """Return for users why a reload failed; `log` gets the place of what should not have happened."""
    if isinstance(failure, CountersignError):
        return str(failure)
    if isinstance(failure, TimeoutError):
        return f"took longer than {PATIENCE:.0f} s"
    if isinstance(failure, OSError) and failure.strerror:
        return failure.strerror  # such as too many open files
    log.defect(failure)
    return f"failed with {type(failure).__name__}"


def failed(log: Log, text: str) -> str:
    """Log why a reload failed; return it for the status page."""
    log.error(f"reload failed, the old configuration goes on: {text}")  # noqa: G004  # this log takes texts
    return f"failed: {text}"


def done(log: Log, running: Settings, old: Settings, new: Settings) -> str:
    """Log what a reload has changed; return its outcome for the status page.

    Args:
        running: the configuration that the process was started with.
        old: the one that held until now.
        new: the one that holds.

    """
    keys = (f"server.{key}" for key in RESTART if getattr(running.server, key) != getattr(new.server, key))
    restart = ", ".join(keys)
    fields = {**_routes(old, new), **_addresses(old, new), "needs_restart": restart}
    say = log.warning if restart else log.info
    say("reloaded", routes=len(new.routes), **{key: text for key, text in fields.items() if text})
    return f"done; needs a restart: {restart}" if restart else "done"


# -- what differs ------------------------------------------------------------------------------------------


def _routes(old: Settings, new: Settings) -> dict[str, str]:
    kept = [name for name in new.routes if name in old.routes]
    return {
        "routes_added": _listed(name for name in new.routes if name not in old.routes),
        "routes_removed": _listed(name for name in old.routes if name not in new.routes),
        "routes_changed": _listed(name for name in kept if _whole(old, name) != _whole(new, name)),
    }


def _whole(settings: Settings, name: str) -> tuple[RouteSettings, object, dict[str, Credential]]:
    """Return all that says what a route does."""
    route = settings.routes[name]
    found: dict[str, Credential] = {}
    pending = list(route.credential.named()) if isinstance(route.credential, Credential) else [route.credential]
    while pending:
        member = pending.pop()
        if member not in found and member in settings.credentials:
            found[member] = settings.credentials[member]
            pending += found[member].named()
    return route, settings.effective(route), found


def _addresses(old: Settings, new: Settings) -> dict[str, str]:
    before, now = (list(dict.fromkeys(address for _, address in places.wanted(each))) for each in (old, new))
    return {
        "addresses_opened": _listed(address for address in now if address not in before),
        "addresses_closed": _listed(address for address in before if address not in now),
    }


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
