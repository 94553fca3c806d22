"""Whatever happens to several processes that share a token: one renewal for each, an answer for each request.

``COUNTERSIGN_EXAMPLES=5000`` tries that many new stories.
"""

from __future__ import annotations

import os
from contextlib import suppress

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.tokens.endpoint import Refused
from tests.doubles import settle
from tests.tokens.world import HELD, OUTCOMES, POINTS, PROMPT, Client, Process, World

NUMBERS = st.integers(0, 2)


class Renewals(RuleBasedStateMachine):
    """What may happen."""

    world: World

    @initialize(life=st.sampled_from([3.0, 100.0, 3600.0]))
    def begin(self, life: float) -> None:
        self.world = World(life)
        self.clients: list[Client] = []

    def _go_on(self) -> None:
        self.world.loop.run_until_complete(settle(60))

    def _process(self, number: int) -> Process:
        return self.world.processes[number]

    @property
    def waiting(self) -> list[Client]:
        return [client for client in self.clients if not client.task.done()]

    # -- clients and the API -------------------------------------------------------------------------

    @rule(number=NUMBERS, late=st.booleans())
    def a_request_comes(self, number: int, late: bool) -> None:  # by name
        client = Client(self._process(number), late)
        self.clients.append(client)
        client.begin()
        self._go_on()

    @precondition(lambda self: any(client.late for client in self.waiting))
    @rule(data=st.data())
    def the_api_answers(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from([client for client in self.waiting if client.late]))
        client.answered.set()
        self._go_on()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def a_client_goes_away(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.waiting))
        client.task.cancel()
        self.clients.remove(client)
        self._go_on()

    @rule(families=st.booleans())
    def the_tokens_are_revoked(self, families: bool) -> None:  # by name
        self.world.revoke_all(families=families)

    # -- the token endpoint --------------------------------------------------------------------------

    @rule(mood=st.sampled_from([PROMPT, HELD, *OUTCOMES]))
    def the_endpoint_is(self, mood: str) -> None:
        self.world.mood = mood

    @precondition(lambda self: self.world.pending)
    @rule(outcome=st.sampled_from(OUTCOMES))
    def it_answers(self, outcome: str) -> None:
        asked = self.world.pending[0]
        if not asked.outcome.done():
            asked.outcome.set_result(outcome)
        self._go_on()

    # -- processes, the store and time ---------------------------------------------------------------

    @rule(number=NUMBERS, point=st.sampled_from(POINTS))
    def a_process_is_going_to_stop(self, number: int, point: str) -> None:
        self._process(number).stops_at = point

    @rule(number=NUMBERS)
    def it_goes_on(self, number: int) -> None:
        self._process(number).thaw()
        self._go_on()

    @rule(number=NUMBERS, heard=st.booleans())
    def a_process_is_killed(self, number: int, heard: bool) -> None:  # by name
        self._kill(self._process(number), heard=heard)

    @precondition(lambda self: any(process.is_stopped for process in self.world.processes))
    @rule(data=st.data())
    def one_that_has_stopped_is_killed(self, data: st.DataObject) -> None:
        stopped = [process for process in self.world.processes if process.is_stopped]
        self._kill(data.draw(st.sampled_from(stopped)), heard=False)

    @rule(number=NUMBERS)
    def one_dies_while_it_saves_a_new_token(self, number: int) -> None:
        self.world.revoke_all(families=False)
        self._process(number).stops_at = "save"
        self.a_request_comes(number, late=False)
        self._kill(self._process(number), heard=False)

    def _kill(self, process: Process, *, heard: bool) -> None:
        for asked in self.world.pending:
            if asked.process is process and heard and not asked.outcome.done():
                with suppress(Refused):
                    process.told("token", asked.refresh_token)  # but it is not there any more
        self.clients = [client for client in self.clients if client.process is not process]
        self.world.kill(process)
        self._go_on()

    @precondition(lambda self: self.world.holder is None)
    @rule()
    def somebody_logs_in(self) -> None:
        self.world.loop.call_soon(self.world.write, self.world.as_token(self.world.issue()))
        self._go_on()

    @rule(seconds=st.sampled_from([0.1, 0.3, 1.0, 2.0, 5.0, 11.0, 30.0, 61.0, 900.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.loop.advance(seconds)

    @rule(seconds=st.sampled_from([-86400.0, -60.0, -2.0, 2.0, 60.0, 86400.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.world.jump(seconds)

    # -- what holds ----------------------------------------------------------------------------------

    @invariant()
    def nothing_went_wrong(self) -> None:
        assert self.world.wrong == []
        assert len(self.world.pending) <= 1, "two processes ask at once"

    def teardown(self) -> None:
        world = self.world
        try:
            self._ends_well()
        finally:
            for process in world.processes:
                process.end()
            world.loop.run_until_complete(settle(60))
            world.loop.close()

    def _ends_well(self) -> None:
        """Let everything recover: whoever waits is answered, and then everybody is served."""
        world = self.world
        world.mood = PROMPT
        for process in world.processes:
            process.thaw()
        for client in self.clients:
            client.answered.set()
        for asked in world.pending:
            if not asked.outcome.done():
                asked.outcome.set_result("token")
        world.loop.advance(25)
        assert all(client.status for client in self.clients), "somebody was never answered"
        world.loop.advance(61)
        for number in range(3):
            for _ in range(2):
                client = Client(self._process(number), late=False)
                client.begin()
                world.loop.advance(2)
            assert client.status == 200
        self.nothing_went_wrong()


EXAMPLES = int(os.environ.get("COUNTERSIGN_EXAMPLES", "0"))

TestRenewals = Renewals.TestCase
TestRenewals.settings = settings(
    max_examples=EXAMPLES or 30,
    derandomize=not EXAMPLES,  # the suite tells the same stories each time
    database=None,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
