"""The errors of the proxy's own: whose fault, which status, which RFC 9209 error type.

The class attributes are the table of the answers that the proxy gives in its own name. What an upstream
answered is never an error, whatever its status. Texts here reach the client: no secret, no input, no
traceback may stand in a ``detail``.
"""

from __future__ import annotations

from typing import ClassVar


class CountersignError(Exception):
    """Anything that goes wrong in a way we know."""


def place(failure: BaseException) -> str:
    """Return file and line where something was raised: what may be told of an exception that nobody expected."""
    trace = failure.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"


class ConfigError(CountersignError):
    """The configuration is wrong; the text names file, key path, what is wrong and what would be right."""


class SecretError(CountersignError):
    """A secret can't be had. Names where it was to come from, never what it is."""


class StoreError(CountersignError):
    """The token store can't be read or written."""


class ProxyError(CountersignError):
    """An answer of the proxy's own (RFC 9457), told apart from the API's by ``Proxy-Status`` (RFC 9209).

    Attributes:
        status: the HTTP status.
        error: the error type of RFC 9209, section 2.3.
        title: a short sentence, the same for every occurrence.
        close: whether the client's connection ends after the answer.
        detail: what happened this time.
        public: as much of it as may be shown to those who have no token: nothing that a program printed.
        retry_after: seconds until it may be tried again, or None.
        headers: further fields of the answer.

    """

    status: ClassVar[int] = 502
    error: ClassVar[str] = "proxy_internal_error"
    title: ClassVar[str] = "The proxy failed"
    close: ClassVar[bool] = False

    def __init__(
        self,
        detail: str = "",
        *,
        retry_after: float | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = self.public = detail or self.title
        self.retry_after = retry_after
        self.headers = headers


class InternalError(ProxyError):
    """A defect of ours. Never a 500: that would look like the API's."""


# -- the client's fault ------------------------------------------------------------------------------


class MalformedRequest(ProxyError):
    """Not a request by RFC 9110 and 9112, or one that could be read in two ways."""

    status, error, title, close = 400, "http_request_error", "The request is malformed", True


class RequestTimeout(ProxyError):
    """The head or the body came too slowly."""

    status, error, title, close = 408, "http_request_error", "The request came too slowly", True


class BodyTooLarge(ProxyError):
    """The body is larger than ``limits.body``, or than what can be kept for signing it."""

    status, error, title, close = 413, "http_request_error", "The request's body is too large", True


class TargetTooLong(ProxyError):
    """The request target does not fit into ``server.header_size``."""

    status, error, title, close = 414, "http_request_error", "The request target is too long", True


class ExpectationFailed(ProxyError):
    """An ``Expect`` other than ``100-continue`` (RFC 9110, section 10.1.1)."""

    status, error, title, close = 417, "http_request_error", "The expectation can't be met", True


class HeadTooLarge(ProxyError):
    """The head is larger than ``server.header_size`` or has more than 128 fields."""

    status, error, title, close = 431, "http_request_error", "The request's head is too large", True


class Denied(ProxyError):
    """The guard or the route's policy says no."""

    status, error, title = 403, "http_request_denied", "The request is not allowed"


class MethodDenied(ProxyError):
    """TRACE and CONNECT."""

    status, error, title, close = 405, "http_request_denied", "The method is not allowed", True


class ClientTokenNeeded(ProxyError):
    """``client_token`` is missing or wrong; never 401, which would look like the API's."""

    status, error, title = 407, "http_request_denied", "The proxy wants its client token"


class AdminTokenNeeded(ProxyError):
    """The admin listener's token is missing or wrong; here a 401 can't be the API's."""

    status, error, title = 401, "http_request_denied", "The page wants the admin token"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, headers=((b"WWW-Authenticate", b'Bearer realm="countersign"'),))


class Misdirected(ProxyError):
    """The ``Host`` is not one of ours."""

    status, error, title = 421, "http_request_denied", "The Host is not served here"


class NoRoute(ProxyError):
    """No route matches."""

    status, error, title = 404, "destination_not_found", "No route matches"


class LoopDetected(ProxyError):
    """The upstream's address is one of this process's own listeners."""

    status, error, title = 508, "proxy_loop_detected", "The upstream is this proxy itself"


class Throttled(ProxyError):
    """A gate that the API's 429 has closed stays closed longer than ``retry.max_wait``."""

    status, error, title = 429, "http_request_denied", "The API asked to wait"


class TurnTimeout(ProxyError):
    """``timeout.total`` has passed while the request waited to be sent."""

    status, error, title = 504, "http_response_timeout", "The request waited too long to be sent"


class ShuttingDown(ProxyError):
    """The process ends, and the request would outlive the grace."""

    status, error, title, close = 503, "destination_unavailable", "The proxy is shutting down", True


class Overloaded(ProxyError):
    """All of ``server.connections`` are busy."""

    status, error, title, close = 503, "connection_limit_reached", "Too many connections", True


# -- the credential's fault --------------------------------------------------------------------------


class CredentialError(ProxyError):
    """The credential can't be had: refused, garbage, a missing secret, login needed."""

    status, error, title = 502, "proxy_configuration_error", "The credential can't be had"


class TokenEndpointDown(ProxyError):
    """The token endpoint can't be reached, hangs or answers 5xx.

    Attributes:
        sent: whether it may have heard the request, and spent the refresh token in it.
        repeatable: whether another attempt may have another result.

    """

    status, error, title = 503, "destination_unavailable", "The token endpoint is not available"

    def __init__(
        self, detail: str = "", *, retry_after: float | None = None, sent: bool = False, repeatable: bool = True
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.sent = sent
        self.repeatable = repeatable


# -- the upstream's fault ----------------------------------------------------------------------------


class UpstreamError(ProxyError):
    """The upstream failed before its answer was complete.

    Three facts decide whether the request may be sent again:

    Attributes:
        sent: whether a byte of the request may have reached the upstream.
        reused: whether the connection had carried a request before.
        begun: whether a byte of the answer had arrived.

    """

    error, title = "connection_terminated", "The upstream failed"

    def __init__(self, detail: str = "", *, sent: bool = False, reused: bool = False, begun: bool = False) -> None:
        super().__init__(detail)
        self.sent = sent
        self.reused = reused
        self.begun = begun


class DnsError(UpstreamError):
    """The upstream's name can't be resolved."""

    error, title = "dns_error", "The upstream's name can't be resolved"


class ConnectionRefused(UpstreamError):
    """The upstream's address refuses connections."""

    error, title = "connection_refused", "The upstream refuses connections"


class Unroutable(UpstreamError):
    """No way leads to the upstream's address."""

    error, title = "destination_ip_unroutable", "The upstream can't be reached"


class OutOfSockets(UpstreamError):
    """This process, or the system, may not open another socket."""

    status, error, title = 503, "connection_limit_reached", "The proxy has no socket left for a new connection"


class OutgoingProxyError(UpstreamError):
    """The outgoing proxy refused to connect."""

    error, title = "destination_unavailable", "The outgoing proxy refused to connect"


class ConnectionTerminated(UpstreamError):
    """The connection broke before the answer began."""

    error, title = "connection_terminated", "The upstream closed the connection without an answer"


class ResponseIncomplete(UpstreamError):
    """The connection broke within the answer."""

    error, title = "http_response_incomplete", "The upstream broke off within its answer"


class UpstreamProtocolError(UpstreamError):
    """What the upstream sent is not HTTP, or could be read in two ways."""

    error, title = "http_protocol_error", "The upstream's answer is not proper HTTP"


class UntrustedUpstream(UpstreamError):
    """Another user of this machine listens where the upstream is expected: another attempt changes nothing."""

    error, title = "proxy_configuration_error", "Another user listens at the upstream's address"


class TlsCertificateError(UpstreamError):
    """The upstream's certificate is not valid for it."""

    error, title = "tls_certificate_error", "The upstream's certificate is not trusted"


class TlsProtocolError(UpstreamError):
    """The TLS handshake failed."""

    error, title = "tls_protocol_error", "The TLS handshake with the upstream failed"


class WrongProtocol(TlsProtocolError):
    """The upstream does not speak TLS, or not the HTTP version that is configured: another attempt changes nothing."""

    error, title = "tls_protocol_error", "The upstream does not speak the configured protocol"


class ConnectTimeout(UpstreamError):
    """No connection within ``timeout.connect``."""

    status, error, title = 504, "connection_timeout", "The upstream took too long to connect"


class ReadTimeout(UpstreamError):
    """Nothing came within ``timeout.read``, or not all within ``timeout.total``."""

    status, error, title = 504, "connection_read_timeout", "The upstream took too long to answer"


class WriteTimeout(UpstreamError):
    """The upstream did not take the request within ``timeout.read``."""

    status, error, title = 504, "connection_write_timeout", "The upstream took too long to read"
