"""Who wants to hear of changes, and the task that looks for them while anyone does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec

P = ParamSpec("P")


class Watchers(Generic[P]):
    """Those who watch a store; `look` is run for them, and calls `tell` until it is cancelled."""

    def __init__(self, look: Callable[[], Coroutine[Any, Any, None]]) -> None:  # Any: as asyncio has it
        self._look = look
        self._told: list[Callable[P, None]] = []
        self._looking: asyncio.Task[None] | None = None

    def add(self, changed: Callable[P, None]) -> Callable[[], None]:
        """Tell `changed` from now on; what is returned ends it."""
        self._told.append(changed)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="token store watch")

        def end() -> None:
            if changed in self._told:
                self._told.remove(changed)
            if not self._told:
                self._stop()

        return end

    def tell(self, *news: P.args, **_: P.kwargs) -> None:
        """Tell everyone."""
        for changed in self._told[:]:
            changed(*news, **_)

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
