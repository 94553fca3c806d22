"""The error tree is the table of the answers that the proxy gives in its own name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy import errors
from proxy.errors import CountersignError, ProxyError, UpstreamError

# As in the contract, section 3.
TABLE = {
    "MalformedRequest": (400, "http_request_error"),
    "RequestTimeout": (408, "http_request_error"),
    "BodyTooLarge": (413, "http_request_error"),
    "TargetTooLong": (414, "http_request_error"),
    "ExpectationFailed": (417, "http_request_error"),
    "HeadTooLarge": (431, "http_request_error"),
    "ClientTokenNeeded": (407, "http_request_denied"),
    "Denied": (403, "http_request_denied"),
    "MethodDenied": (405, "http_request_denied"),
    "NoRoute": (404, "destination_not_found"),
    "Misdirected": (421, "http_request_denied"),
    "DnsError": (502, "dns_error"),
    "ConnectionRefused": (502, "connection_refused"),
    "ConnectionTerminated": (502, "connection_terminated"),
    "TlsCertificateError": (502, "tls_certificate_error"),
    "TlsProtocolError": (502, "tls_protocol_error"),
    "UntrustedUpstream": (502, "proxy_configuration_error"),
    "ResponseIncomplete": (502, "http_response_incomplete"),
    "CredentialError": (502, "proxy_configuration_error"),
    "TokenEndpointDown": (503, "destination_unavailable"),
    "ShuttingDown": (503, "destination_unavailable"),
    "OutOfSockets": (503, "connection_limit_reached"),
    "Throttled": (429, "http_request_denied"),
    "ConnectTimeout": (504, "connection_timeout"),
    "ReadTimeout": (504, "connection_read_timeout"),
    "LoopDetected": (508, "proxy_loop_detected"),
}
# RFC 9209, section 2.3.
REGISTERED = {
    "dns_timeout", "dns_error", "destination_not_found", "destination_unavailable", "destination_ip_prohibited",
    "destination_ip_unroutable", "connection_refused", "connection_terminated", "connection_timeout",
    "connection_read_timeout", "connection_write_timeout", "connection_limit_reached", "tls_protocol_error",
    "tls_certificate_error", "tls_alert_received", "http_request_error", "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size", "http_response_header_size", "http_response_body_size",
    "http_response_trailer_section_size", "http_response_trailer_size", "http_response_transfer_coding",
    "http_response_content_coding", "http_response_timeout", "http_upgrade_failed", "http_protocol_error",
    "proxy_internal_response", "proxy_internal_error", "proxy_configuration_error", "proxy_loop_detected",
}  # fmt: skip


def kinds(kind: type[ProxyError] = ProxyError) -> Iterator[type[ProxyError]]:
    """Those of the module; others derive theirs."""
    if kind.__module__ == errors.__name__:
        yield kind
        for derived in kind.__subclasses__():
            yield from kinds(derived)


@pytest.mark.parametrize(("name", "row"), list(TABLE.items()))
def test_the_contracts_table(name: str, row: tuple[int, str]) -> None:
    kind = getattr(errors, name)
    assert (kind.status, kind.error) == row


@pytest.mark.parametrize("kind", list(kinds()))
def test_every_error_is_a_row(kind: type[ProxyError]) -> None:
    error = kind()
    assert kind.error in REGISTERED
    assert 400 <= kind.status <= 599
    assert kind.status != 500
    assert error.detail == str(error) == kind.title or kind.__init__ is not ProxyError.__init__
    assert error.retry_after is None
    assert isinstance(error, CountersignError)


def test_only_the_admin_page_says_401() -> None:
    assert [kind.__name__ for kind in kinds() if kind.status == 401] == ["AdminTokenNeeded"]
    assert errors.AdminTokenNeeded("x").headers == ((b"WWW-Authenticate", b'Bearer realm="countersign"'),)


@pytest.mark.parametrize("name", ["MalformedRequest", "RequestTimeout", "BodyTooLarge", "HeadTooLarge", "ShuttingDown"])
def test_after_these_the_connection_ends(name: str) -> None:
    assert getattr(errors, name).close


def test_an_error_takes_what_its_answer_needs() -> None:
    error = errors.Throttled("wait", retry_after=2.5, headers=((b"A", b"1"),))
    assert (error.detail, error.retry_after, error.headers) == ("wait", 2.5, ((b"A", b"1"),))


def test_a_failure_of_the_upstream_has_three_facts() -> None:
    error = UpstreamError("x", sent=True, reused=True, begun=True)
    assert (error.sent, error.reused, error.begun) == (True, True, True)
    assert not any((UpstreamError().sent, UpstreamError().reused, UpstreamError().begun))


@pytest.mark.parametrize("kind", [errors.ConfigError, errors.SecretError, errors.StoreError])
def test_others_are_no_answers(kind: type[CountersignError]) -> None:
    assert not issubclass(kind, ProxyError)
