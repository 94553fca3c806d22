"""How long nobody asks for a token: after requests for one that failed, and while an API refuses even new ones.

Pauses grow with each failure and end with a success, or when something changed that could help.
"""

from __future__ import annotations

from proxy.clock import Clock
from proxy.errors import CredentialError, ProxyError, TokenEndpointDown

SHORTEST, LONGEST_DOWN, LONGEST_REFUSED = 1.0, 30.0, 60.0  # seconds


def pause(failures: int, longest: float) -> float:
    """Seconds after `failures` earlier ones in a row."""
    return min(SHORTEST * 2.0 ** min(failures, 10), longest)


class Rest:
    """The pause after a request for a token that failed, and how it failed.

    Attributes:
        until: monotonic seconds.
        problem: what failed last; empty once it went well again.
        public: as `ProxyError.public`.

    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused = False
        self._failures = 0
        self.problem = self.public = ""
        self.until = 0.0

    @property
    def left(self) -> float:
        """Seconds until it ends; 0 if it has."""
        return max(0.0, self.until - self._clock.monotonic())

    def begin(self, failure: ProxyError) -> None:
        """Rest, at least as long as the endpoint told to wait; `failure` gets to tell for how long."""
        self._refused = isinstance(failure, CredentialError)
        self.problem, self.public = failure.detail, failure.public
        longest = LONGEST_REFUSED if self._refused else LONGEST_DOWN
        rest = max(pause(self._failures, longest), min(failure.retry_after or 0.0, longest))
        self._failures += 1
        self.until = self._clock.monotonic() + rest
        if not self._refused:
            failure.retry_after = rest

    def end(self) -> None:
        """A token was had."""
        self._failures = 0
        self.problem = self.public = ""
        self.until = 0.0

    def failure(self) -> ProxyError:
        """Return the failure that is remembered.

        A new one each time: an exception that is raised again grows by a traceback, and keeps what stands in it.
        """
        failure: ProxyError = CredentialError(self.problem)
        if not self._refused:
            failure = TokenEndpointDown(self.problem, retry_after=self.left)
        failure.public = self.public
        return failure


class Doubt:
    """Whether another token would help: an API that refuses every new one gets them in growing pauses only.

    It may refuse for another reason, such as a scope that is missing. Then a token for each of its refusals
    would cost a token request for each client request.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._useless: object = None
        self._times = 0
        self._until = 0.0

    def check(self) -> None:
        """Let a refused token be replaced.

        Raises:
            CredentialError: not now.

        """
        if self._clock.monotonic() < self._until:
            raise CredentialError("the API refused a new token a moment ago")

    def hear(self, token: object, *, refused: bool) -> None:
        """Hear how the API took `token`, which replaced a refused one; of many who say the same, the first counts."""
        if not refused:
            self._times, self._until = 0, 0.0
        elif token is not self._useless:
            self._useless = token
            self._until = self._clock.monotonic() + pause(self._times, LONGEST_REFUSED)
            self._times += 1
