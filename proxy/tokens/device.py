"""A login on another device: a code is shown, and the token endpoint asked until the user has entered it (RFC 8628)."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.clock import Clock
from proxy.errors import CredentialError, TokenEndpointDown
from proxy.stores import Token
from proxy.tokens.endpoint import Refused, lifetime, text
from proxy.tokens.requests import TokenRequests
from proxy.tokens.settings import check_url

INTERVAL = 5.0  # seconds, if the server says nothing, and what a "slow_down" adds (RFC 8628, sections 3.2 and 3.5)
LIFE = 600.0  # seconds, if the server says nothing that can be used
LONGEST_INTERVAL = 60.0


@dataclass(frozen=True, slots=True)
class DeviceLogin:
    """What the user has to do.

    Attributes:
        user_code: what to enter.
        url: where.
        complete_url: the same with the code in it, or empty.
        interval: seconds between two questions.
        life: seconds that the code is good for.

    """

    requests: TokenRequests
    device_code: str = field(repr=False)
    user_code: str = field(repr=False)
    url: str
    complete_url: str
    interval: float
    life: float

    @classmethod
    async def begin(cls, requests: TokenRequests) -> DeviceLogin:
        """Ask for a code.

        Raises:
            SecretError: a secret can't be had.
            CredentialError, TokenEndpointDown: the server gives none.

        """
        answer = await requests.device_code()
        device_code, user_code = text(answer, "device_code"), text(answer, "user_code")
        # Google's came before the standard.
        url = text(answer, "verification_uri") or text(answer, "verification_url")
        if device_code is None or user_code is None or url is None:
            raise CredentialError("the device authorization endpoint's answer has no usable code")
        complete = text(answer, "verification_uri_complete") or ""
        try:
            for shown in filter(None, (url, complete)):
                check_url("verification_uri", shown, insecure=True)
        except ValueError as problem:
            raise CredentialError(f"the device authorization endpoint's {problem}") from None
        interval = lifetime(answer.get("interval")) or INTERVAL
        return cls(
            requests,
            device_code,
            user_code,
            url,
            complete,
            min(interval, LONGEST_INTERVAL),
            lifetime(answer.get("expires_in")) or LIFE,
        )

    async def token(self, clock: Clock) -> Token:
        """Ask for the token until the user has said yes or no, or the code has expired.

        Raises:
            SecretError: a secret can't be had.
            CredentialError: the user said no, was too late, or the server refused.

        """
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": self.device_code}
        until, interval = clock.monotonic() + self.life, self.interval
        while clock.monotonic() + interval < until:
            await clock.sleep(interval)
            try:
                return await self.requests.redeem(form)
            except Refused as refusal:
                if refusal.code == "slow_down":
                    interval += INTERVAL
                elif refusal.code != "authorization_pending":
                    raise
            except TokenEndpointDown:
                interval = min(2 * interval, LONGEST_INTERVAL)  # RFC 8628, section 3.5
        raise CredentialError("the code has expired before it was entered")
