"""Who wants to hear of changes, and the task that looks for them while anyone does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec

from proxy.errors import place
from proxy.stores._warnings import RareWarning

P = ParamSpec("P")

PAUSE = 1.0  # seconds after a failure


class Watchers(Generic[P]):
    """Those who watch a store; `look` is run for them, and calls `tell` until it is cancelled.

    Args:
        look: run again if it raises, so that one surprise does not end the watch.
        warn: given a line for the log.

    """

    def __init__(
        self,
        look: Callable[[], Coroutine[Any, Any, None]],  # Any: as asyncio has it
        warn: Callable[[str], None],
    ) -> None:
        self._look = look
        self._warning = RareWarning(warn)
        self._told: list[Callable[P, None]] = []
        self._looking: asyncio.Task[None] | None = None

    def add(self, changed: Callable[P, None]) -> Callable[[], None]:
        """Tell `changed` from now on; what is returned ends it."""
        self._told.append(changed)
        if self._looking is None:
            self._looking = asyncio.create_task(self._watch(), name="token store watch")

        def end() -> None:
            if changed in self._told:
                self._told.remove(changed)
            if not self._told:
                self._stop()

        return end

    def tell(self, *news: P.args, **_: P.kwargs) -> None:
        """Tell everyone."""
        for changed in self._told[:]:
            try:
                changed(*news, **_)
            except Exception as failure:  # noqa: BLE001  # the others are told all the same
                self.failed(failure)

    def failed(self, failure: Exception) -> None:
        """Warn of an exception that nobody expected; its text could repeat a token."""
        self._warning(f"the watch of the token store failed with {type(failure).__name__} at {place(failure)}")

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as failure:  # noqa: BLE001  # what must not end the watch
                self.failed(failure)
            await asyncio.sleep(PAUSE)

    def _stop(self) -> asyncio.Task[None] | None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
        return looking

    async def aclose(self) -> None:
        """Tell nobody any more."""
        self._told.clear()
        looking = self._stop()
        if looking is not None:
            await asyncio.gather(looking, return_exceptions=True)
