"""attempts( throttle( auth flow( one send ) ) ): everything that may repeat a request, nested in this order.

Each sending is a fresh request, signed anew, with the same body. The flow is driven here and not by
``httpx.AsyncClient``, whose driver reads refused answers whole and alters targets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from random import Random

import httpx

from proxy.clock import Clock
from proxy.credentials import Scheme
from proxy.errors import (
    ConnectionTerminated,
    CountersignError,
    CredentialError,
    ProxyError,
    SecretError,
    Throttled,
    UpstreamError,
)
from proxy.gateway import Story
from proxy.gateway.gates import Gates, Refusal, scope_of
from proxy.gateway.retry import (
    Budget,
    RetrySettings,
    after_failure,
    backoff,
    is_another_s_failure,
    may_repeat,
)
from proxy.gateway.throttle import SLOWEST
from proxy.gateway.turns import Turn
from proxy.gateway.upstream import Draft, Upstream, discard, keep
from proxy.transport import Reservation
from proxy.waiting import is_throttling, told_wait

Flow = AsyncGenerator[httpx.Request, httpx.Response]
_BARE = Scheme()
_OUTCOMES = ["other", *(f"{digit}xx" for digit in range(1, 10))]
_ASKED = "because the API asked to"
REPLACEMENTS = 5  # dead kept-alive connections that one request may meet without counting them


class Exchange:
    """How the requests of one route are sent."""

    def __init__(
        self,
        upstream: Upstream,
        auth: httpx.Auth,
        retry: RetrySettings,
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        self.upstream = upstream
        self._auth = auth
        # Most schemes put something on a request and want to hear no answer: they need no flow.
        self._apply: Callable[[httpx.Request], Awaitable[None]] | None = None
        if isinstance(auth, Scheme) and type(auth).async_auth_flow is Scheme.async_auth_flow:
            self._apply = auth.apply
        self._retry = retry
        self._clock = clock
        self._random = random
        self._budget = Budget(retry.budget)
        self.gates = Gates(clock, retry.gate, retry.max_wait)

    async def __call__(self, draft: Draft, story: Story) -> httpx.Response:  # noqa: C901  # the loop is the table
        """Send until there is an answer to hand on.

        Raises:
            UpstreamError: it failed, and may not be repeated (any more).
            CredentialError, TokenEndpointDown: the credential can't be had.
            Throttled: a gate stays closed.

        """
        self._budget.request(story.started)
        told: httpx.Response | None = None
        while True:
            turn: Turn | None = None
            if not self.gates.is_open:
                turn = await self._turn(draft, told, story)
                if turn is None:
                    assert told is not None
                    return told
            if told is not None:
                await discard(told)
                told = None
            try:
                response = await (self._attempt(draft, story) if turn is None else self._attempt_in(turn, draft, story))
            except UpstreamError as failure:
                pause = self._after_failure(failure, draft, story)
            else:
                if response.status_code < 400 or is_another_s_failure(response.status_code, response.headers.raw):
                    return response
                if is_throttling(response.status_code, response.headers.raw):
                    rest = self._refused(response, draft, story)
                    if rest is None:
                        return response
                    told = await keep(response)
                    if rest:
                        await self._pause(rest, _ASKED, draft, story, told)
                    continue
                wanted = self._after_answer(response, draft, story)
                if wanted is None:
                    return response
                pause = wanted
                await discard(response)
            await self._pause(pause, "to be repeated", draft, story)

    def age(self, story: Story) -> float:
        """Seconds since the head of a request arrived."""
        return self._clock.monotonic() - story.started

    async def _attempt_in(self, turn: Turn, draft: Draft, story: Story) -> httpx.Response:
        refused = True
        try:
            response = await self._attempt(draft, story)
            refused = is_throttling(response.status_code, response.headers.raw)
        finally:
            turn.end(refused=refused)
        return response

    async def _attempt(self, draft: Draft, story: Story) -> httpx.Response:
        """Send once, and again at once as long as only kept-alive connections turn out to be closed."""
        story.attempts += 1
        sendings = 0
        while True:
            try:
                apply = _BARE.apply if draft.bare else self._apply
                if apply is None:
                    return await self._authenticated(draft, story)
                request = self.upstream.request(draft)
                try:
                    await apply(request)
                except Exception as failure:  # noqa: BLE001  # a stranger's code
                    raise _credential_failure(failure) from None
                return await self._send(request, story)
            except UpstreamError as failure:
                sendings += 1
                if sendings > REPLACEMENTS or not self._is_stale(failure, draft):
                    raise

    # -- attempts ------------------------------------------------------------------------------------

    def _may_send_again(self, draft: Draft, story: Story) -> bool:
        return story.attempts < self._retry.attempts and draft.body.replayable

    def _may_repeat(self, draft: Draft) -> bool:
        return may_repeat(draft.method, idempotency_key=draft.idempotency_key, settings=self._retry)

    def _is_stale(self, failure: UpstreamError, draft: Draft) -> bool:
        """Whether a kept-alive connection had been closed by the upstream, and another may take over."""
        return (
            isinstance(failure, ConnectionTerminated)  # who only says nothing has not closed it
            and failure.reused
            and not failure.begun
            and draft.body.replayable
            and (not failure.sent or self._may_repeat(draft))
        )

    def _after_failure(self, failure: UpstreamError, draft: Draft, story: Story) -> float:
        """Seconds until the next attempt; raises `failure` if there is none."""
        pause = None
        if self._may_send_again(draft, story) and after_failure(
            failure, repeatable=self._may_repeat(draft), read_timeout=self._retry.read_timeout
        ):
            pause = self._backoff(story)
        if pause is None:
            raise failure
        return pause

    def _after_answer(self, response: httpx.Response, draft: Draft, story: Story) -> float | None:
        if response.status_code not in self._retry.statuses or not self._may_send_again(draft, story):
            return None
        return self._backoff(story) if self._may_repeat(draft) else None

    def _backoff(self, story: Story) -> float | None:
        """Seconds until the next attempt, or None if patience or budget are used up."""
        pause = backoff(story.attempts, self._retry, self._random)
        if story.waited + pause > self._retry.max_wait or not self._budget.spend(self._clock.monotonic()):
            return None
        return pause

    # -- throttle ------------------------------------------------------------------------------------

    async def _pause(
        self, seconds: float, why: str, draft: Draft, story: Story, told: httpx.Response | None = None
    ) -> None:
        """Let `seconds` pass before the next attempt, and meanwhile another request in its place."""
        story.held = why
        if draft.slot is not None:
            draft.slot.release()
        try:
            await self._clock.sleep(seconds)
            story.waited += seconds
            if draft.slot is not None:
                await draft.slot.acquire()
        except BaseException:
            if told is not None:
                await told.aclose()
            raise
        story.held = ""

    async def _turn(self, draft: Draft, told: httpx.Response | None, story: Story) -> Turn | None:
        """Wait at the gates; None if one stays closed for too long, and there is a response to hand on instead."""
        turn: Turn | None = None
        story.held = _ASKED
        try:
            if draft.slot is not None:
                draft.slot.release()
            waited, turn = await self.gates.enter(draft.method, draft.target, self._retry.max_wait - story.waited)
            story.waited += waited
            if draft.slot is not None:
                await draft.slot.acquire()
        except Throttled:
            if told is None:
                raise
        except BaseException:
            if turn is not None:
                turn.end(refused=True)
            if told is not None:
                await told.aclose()
            raise
        story.held = ""
        return turn

    def _refused(self, response: httpx.Response, draft: Draft, story: Story) -> float | None:
        """Have the gates close as a response says.

        Returns the seconds that its own request waits before it goes to the gates, or None if it is not sent again.
        """
        # A credential that takes turns knows better: it has others.
        stated = response.extensions.get("wait", told_wait(response.headers.raw, self._clock.time()))
        wait = backoff(story.attempts, self._retry, self._random) if stated is None else max(stated, SLOWEST)
        waits_at_gate = self.gates.refused(
            Refusal(
                story.request_id,
                scope_of(draft.method, draft.target),
                wait,
                is_stated=stated is not None,
                is_wide=response.status_code != 503,
            )
        )
        if (
            self._may_send_again(draft, story)
            and (response.status_code == 429 or self._may_repeat(draft))
            and story.waited + wait <= self._retry.max_wait
        ):
            return 0.0 if waits_at_gate else wait
        return None

    # -- auth flow -----------------------------------------------------------------------------------

    async def _authenticated(self, draft: Draft, story: Story) -> httpx.Response:
        """Drive the credential's flow: it yields requests, gets their responses, and may yield again.

        All requests of a flow use the same connection, as far as the upstream keeps it open.
        """
        flow: Flow = self._auth.async_auth_flow(self.upstream.request(draft))
        reservation = Reservation()
        response: httpx.Response | None = None
        try:
            request = await self._first(flow)
            while True:
                response = await self._send(request, story, reservation)
                response.request = request
                following = await self._next(flow, response, story)
                if following is None:
                    if not self.upstream.is_own(request):
                        # The client asked the API; a token endpoint's answer may hold a secret.
                        raise CredentialError("the credential ended without sending the request")
                    return response
                if self.upstream.is_own(following):
                    if not draft.body.replayable:
                        return response
                    story.replays += 1
                    story.notes = (*story.notes, *following.extensions.pop("notes", ()))
                await discard(response, in_flow=True)
                request, response = following, None
        except BaseException:
            if response is not None:
                await response.aclose()
            raise
        finally:
            try:
                await flow.aclose()
            finally:
                reservation.release()

    async def _first(self, flow: Flow) -> httpx.Request:
        try:
            return await anext(flow)
        except Exception as failure:  # noqa: BLE001  # a stranger's code
            raise _credential_failure(failure) from None

    async def _next(self, flow: Flow, response: httpx.Response, story: Story) -> httpx.Request | None:
        """What the flow wants sent after this answer, or None if the answer is to be handed on."""
        try:
            return await flow.asend(response)
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError:
            raise
        except CountersignError as failure:
            story.failure = f"renewal failed: {failure}"
            story.error = getattr(failure, "error", CredentialError.error)
            return None
        except Exception as failure:  # noqa: BLE001  # the answer is handed on, and Proxy-Status says why
            story.failure = f"renewal failed with {type(failure).__name__}"
            story.error = CredentialError.error
            return None

    # -- one send ------------------------------------------------------------------------------------

    async def _send(
        self, request: httpx.Request, story: Story, reservation: Reservation | None = None
    ) -> httpx.Response:
        try:
            response = await self.upstream.send(request, reservation)
        except UpstreamError as failure:
            story.outcomes += (failure.error,)
            raise
        story.outcomes += (_OUTCOMES[response.status_code // 100 % 10],)
        return response

    async def aclose(self) -> None:
        """Close the gates' queues and the upstream's connections."""
        await self.gates.aclose()
        await self.upstream.aclose()


def _credential_failure(failure: Exception) -> ProxyError:
    """Return what it means that a credential failed before anything was sent."""
    if isinstance(failure, ProxyError):
        return failure
    if isinstance(failure, SecretError):
        return CredentialError(str(failure))
    # A third party's Auth may raise anything; its text could hold a secret.
    return CredentialError(f"the credential failed with {type(failure).__name__}")
