"""One credential's tokens: got once however many want them, renewed early, stored before they are used.

Which token was refused decides about a renewal, not the clock. A renewal belongs to nobody's request: it is
a task of its own that the one who asked first can't cancel. No lock is held while a request is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from proxy.clock import Timer
from proxy.errors import CountersignError, ProxyError, TokenEndpointDown
from proxy.stores import Token
from proxy.tokens import Renewed, Standing, Tokens
from proxy.tokens._life import NONE, life
from proxy.tokens._renewal import Fetch, Key, Renewal
from proxy.tokens._rest import SHORTEST, Doubt, Rest

PATIENCE = 10.5  # seconds that a request waits for a token; the token endpoint has 10 to answer
CLOSING = 2.0  # seconds that the end waits for a renewal


class TokenSource(Renewed):
    """Where the requests of one credential get their token from.

    Args:
        name: the credential's, for people.
        key: names the token in the store; it changes when the configuration does.
        fetch: gets a token, by the refresh token of the last one if there is such a one.
        refresh_before: seconds before its expiry at which a token is renewed.
        patience: seconds that a request waits for a token.

    """

    def __init__(
        self,
        name: str,
        key: Key,
        fetch: Fetch,
        tokens: Tokens,
        refresh_before: float,
        *,
        patience: float = PATIENCE,
    ) -> None:
        self.name = name
        self.key = key
        self._clock = tokens.clock
        self._random = tokens.random
        self._tell = tokens.warn
        self._store = tokens.store
        self._refresh_before = refresh_before
        self._patience = patience
        self._get = Renewal(name, key, fetch, tokens)
        self._rest = Rest(tokens.clock)
        self._doubt = Doubt(tokens.clock)
        self._token: Token | None = None
        self._life = NONE
        self._is_used = False  # since it was got
        self._renewal: asyncio.Task[Token] | None = None
        self._timer: Timer | None = None
        self._unwatch: Callable[[], None] | None = None
        self._looks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        tokens.sources.append(self)

    # -- for requests --------------------------------------------------------------------------------

    @property
    def current(self) -> Token | None:
        """The token that it has, whatever it is worth."""
        return self._token

    def standing(self) -> Standing:
        """Return how its token stands."""
        token, left = self._token, self._rest.left
        return Standing(
            expires_at=token.expires_at if token else None,
            resting_until=self._clock.time() + left if left else None,
            problem=self._rest.problem,
            unsaved=self._get.unsaved,
            public=self._rest.public,
        )

    def valid(self) -> Token | None:
        """Return a token if there is one that is not known to be dead; one that is late is renewed meanwhile."""
        now, clock = self._life, self._clock
        if clock.monotonic() < now.due and clock.time() < now.due_date:
            self._is_used = True
            return self._token
        if self._token is None or now.is_over(clock):
            return None
        self._is_used = True
        if not self._rest.left:
            self._start()
        return self._token

    async def token(self) -> Token:
        """Return a token that is not known to be dead.

        Raises:
            ProxyError: it can't be had.
            SecretError: a secret can't be had.

        """
        return self.valid() or await self._another()

    async def renew(self, refused: Token) -> Token:
        """Return another token than the one that the API refused.

        Raises:
            ProxyError: it can't be had, or the API refuses every new one.
            SecretError: a secret can't be had.

        """
        if self._token is not refused:
            # A late refusal: another request has renewed it already, if only to the same text.
            return await self.token()
        self._doubt.check()
        self._get.refused(refused)
        self._drop()
        return await self._another()

    async def fresh(self) -> Token:
        """Return another token than the store has, which may be as good: somebody wants it renewed.

        Raises:
            StoreError: the store can't be read.
            ProxyError: it can't be had.
            SecretError: a secret can't be had.

        """
        stored = await self._store.load(await self.key())
        if stored is not None:
            self._get.refused(stored)
        return await self._another()

    def hear(self, token: Token, *, refused: bool) -> None:
        """Hear how the API took `token`, which `renew` has given: whether that helps is to be known the next time."""
        self._doubt.hear(token, refused=refused)

    # -- once ----------------------------------------------------------------------------------------

    async def _another(self) -> Token:
        """Wait for a token that is not dead."""
        if self._renewal is None and self._rest.left:
            await self._look()
            if token := self.valid():
                return token
            if self._renewal is None and self._rest.left:
                raise self._rest.failure()
        try:
            async with asyncio.timeout(self._patience):
                for _ in range(2):  # the machine may have slept, or the store been slow, until it was over
                    await asyncio.shield(self._start())
                    if token := self.valid():
                        return token
        except TimeoutError:
            raise TokenEndpointDown(f"no token within {self._patience:g} s", retry_after=1) from None
        raise TokenEndpointDown("the token was over before it could be used", retry_after=1)

    def _start(self) -> asyncio.Task[Token]:
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew(self._token), name=f"renewal of {self.name}")
            self._renewal.add_done_callback(self._ended)
        return self._renewal

    async def _renew(self, current: Token | None) -> Token:
        if self._unwatch is None and not self._is_closed:
            self._unwatch = self._store.watch(self._changed)
        try:
            token = await self._get(current)
        except ProxyError as failure:
            self._rest.begin(failure)
            self._warn(f"{failure.detail}; nobody is asked again for {self._rest.left:.0f} s")
            raise
        return self._take(token)

    def _ended(self, renewal: asyncio.Task[Token]) -> None:
        self._renewal = None
        if renewal.cancelled():
            return
        failure = renewal.exception()  # whoever waited has it; nobody did if it was early
        if failure is not None:
            self._set_timer(not_before=self._clock.monotonic() + SHORTEST)
            if not isinstance(failure, CountersignError):
                self._warn(f"the renewal failed with {type(failure).__name__}")

    # -- what it has ---------------------------------------------------------------------------------

    def _take(self, token: Token) -> Token:
        if token == self._token:
            token = self._token  # the same as what was seen in the store: which was refused is told by identity
        self._token = token
        self._life = life(token, self._clock, self._refresh_before, self._random.random())
        self._is_used = False
        self._rest.end()
        self._set_timer()
        return token

    def _drop(self) -> None:
        self._token, self._life = None, NONE
        self._stop_timer()

    # -- the store -----------------------------------------------------------------------------------

    def _changed(self, name: str) -> None:
        """Hear that a token in the store has changed: by a login, a command, another process, or this one."""
        if name == self._get.stored_as and not self._is_closed:
            look = asyncio.create_task(self._look_again(), name=f"look for the token of {self.name}")
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)

    async def _look_again(self) -> None:
        with suppress(CountersignError):  # whoever needs a token will hear of it
            if self._renewal is None and await self._get.is_forgotten():
                self._drop()
            else:
                await self._look()

    async def _look(self) -> None:
        """Take what others may have put into the store, unless something came up meanwhile."""
        current = self._token
        found = await self._get.look(current)
        if found is not None and self._token is current:
            self._take(found)

    # -- early ---------------------------------------------------------------------------------------

    def _set_timer(self, not_before: float = 0.0) -> None:
        self._stop_timer()
        at = max(self._life.due, self._rest.until, not_before)
        if at < self._life.over and not self._is_closed:
            self._timer = self._clock.call_later(at - self._clock.monotonic(), self._is_due)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_due(self) -> None:
        """Renew, though no request comes at the moment; a token that nobody has used falls asleep."""
        self._timer = None
        if self._is_used and not self._life.is_over(self._clock):
            self._start()

    # -- the end -------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """As `Renewed.settle`."""
        if self._renewal is not None:
            await asyncio.wait([self._renewal])

    async def aclose(self) -> None:
        """As `Renewed.aclose`."""
        self._is_closed = True
        self._stop_timer()
        if self._unwatch is not None:
            self._unwatch()
        for look in self._looks:
            look.cancel()
        if self._renewal is not None:
            renewal = self._renewal
            await asyncio.wait([renewal], timeout=CLOSING)
            renewal.cancel()
            await asyncio.wait([renewal])

    def _warn(self, text: str) -> None:
        self._tell(f"credential {self.name}: {text}")
