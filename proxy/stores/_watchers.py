"""Who wants to hear of changes, and the task that looks for them while anyone does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

Changed = Callable[[str], None]


class Watchers:
    """Those who watch a store; `look` is run for them, and calls `tell` until it is cancelled."""

    def __init__(self, look: Callable[[], Coroutine[None, None, None]]) -> None:
        self._look = look
        self._told: list[Changed] = []
        self._looking: asyncio.Task[None] | None = None

    def add(self, changed: Changed) -> Callable[[], None]:
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

    def tell(self, name: str) -> None:
        """Tell everyone that the token of `name` may have changed."""
        for changed in self._told[:]:
            changed(name)

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
