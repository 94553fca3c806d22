"""May a request be repeated, and after how long: pure functions of values.

What may have been executed is only repeated if the method is idempotent (RFC 9110, section 9.2.2) or the
client gave an ``Idempotency-Key``. A 429 says that it was not executed; a read timeout says that it may still be.
"""

from __future__ import annotations

import re
from random import Random
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from proxy.errors import (
    ConnectionRefused,
    ConnectTimeout,
    DnsError,
    OutgoingProxyError,
    ReadTimeout,
    TlsCertificateError,
    TlsProtocolError,
    Unroutable,
    UntrustedUpstream,
    UpstreamError,
    UpstreamProtocolError,
    WrongProtocol,
)
from proxy.gateway import RawHeaders
from proxy.methods import METHOD
from proxy.values import Duration, Model, Share, split_words

LONGEST = 3600.0  # no gate stays closed longer on an API's word
FREE = 10  # retries in WINDOW seconds that no budget forbids
WINDOW = 10


def _method(value: str) -> str:
    if not re.fullmatch(METHOD, value):
        raise ValueError('not a method; expected a name such as "GET" or "LIST"')
    return value


GateMode = Literal["auto", "route", "off"]
Statuses = Annotated[tuple[Annotated[int, Field(ge=400, le=599)], ...], BeforeValidator(split_words)]
Methods = Annotated[tuple[Annotated[str, AfterValidator(_method)], ...], BeforeValidator(split_words)]


class RetrySettings(Model):
    """``[retry]``; times in seconds."""

    attempts: int = Field(default=4, ge=1)
    max_wait: Duration = 30.0
    backoff: Duration = 0.5
    statuses: Statuses = (502, 503, 504)
    methods: Methods = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE")
    budget: Share = 0.2
    gate: GateMode = "auto"
    read_timeout: bool = False


def may_repeat(method: str, *, idempotency_key: bool, settings: RetrySettings) -> bool:
    """Whether a request may be sent again though it may have been executed."""
    return idempotency_key or method in settings.methods


def after_failure(failure: UpstreamError, *, repeatable: bool, read_timeout: bool) -> bool:
    """Whether a request that met `failure` may be sent again; `read_timeout` as configured."""
    if isinstance(failure, _BEFORE_SENDING) and not failure.sent:
        return not isinstance(failure, TlsCertificateError | UntrustedUpstream | WrongProtocol)
    if isinstance(failure, UpstreamProtocolError):
        return False
    if isinstance(failure, ReadTimeout) and not read_timeout:
        repeatable = False
    return repeatable or not failure.sent


_BEFORE_SENDING = (
    ConnectionRefused, ConnectTimeout, DnsError, OutgoingProxyError, TlsCertificateError, TlsProtocolError, Unroutable,
    UntrustedUpstream,
)  # fmt: skip


def is_another_s_failure(status: int, fields: RawHeaders) -> bool:
    """Whether an answer is the failure of another Countersign, which has repeated what may be repeated.

    Doing so here, too, would multiply the attempts; where requests come round to us again, without an end.
    """
    return status >= 500 and any(
        name.lower() == b"proxy-status" and value.startswith(b"countersign; error=") for name, value in fields
    )


def backoff(attempt: int, settings: RetrySettings, random: Random) -> float:
    """Seconds to wait after the `attempt`-th sending (from 1): times 2 each time, full jitter."""
    return random.uniform(0, settings.backoff * 2 ** min(attempt - 1, 20))


class Budget:
    """Retries are at most a share of the recent requests, so that an API that is down is not hit harder."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._second = 0
        self._requests = [0] * WINDOW
        self._retries = [0] * WINDOW

    def _advance(self, now: float) -> int:
        second = int(now)
        for passed in range(max(self._second + 1, second - WINDOW + 1), second + 1):
            self._requests[passed % WINDOW] = self._retries[passed % WINDOW] = 0
        self._second = max(self._second, second)
        return self._second % WINDOW

    def request(self, now: float) -> None:
        """Count a client's request at `now` (monotonic seconds)."""
        at = self._second % WINDOW if int(now) == self._second else self._advance(now)
        self._requests[at] += 1

    def spend(self, now: float) -> bool:
        """Take one retry, if there is one left."""
        at = self._advance(now)
        spent = sum(self._retries)
        if spent >= FREE and spent >= self._share * sum(self._requests):
            return False
        self._retries[at] += 1
        return True
