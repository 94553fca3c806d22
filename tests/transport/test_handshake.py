from __future__ import annotations

import ssl

import pytest

from proxy.errors import TlsCertificateError, TlsProtocolError, UpstreamError, WrongProtocol
from proxy.transport.handshake import CA, handshake_failure


def certificate(code: int, message: str) -> ssl.SSLCertVerificationError:
    failure = ssl.SSLCertVerificationError(1, "canary")
    failure.verify_code, failure.verify_message = code, message
    return failure


def reason(text: str) -> ssl.SSLError:
    failure = ssl.SSLError(1, "canary")
    failure.reason = text
    return failure


@pytest.mark.parametrize(
    ("failure", "kind", "says"),
    [
        (certificate(20, "unable to get local issuer certificate"), TlsCertificateError,
         f"api.test:443: unable to get local issuer certificate; {CA}"),
        (certificate(18, "self-signed"), TlsCertificateError, f"api.test:443: self-signed; {CA}"),
        (certificate(19, "self-signed"), TlsCertificateError, f"api.test:443: self-signed; {CA}"),
        (certificate(7, "certificate signature failure"), TlsCertificateError,
         f"api.test:443: certificate signature failure; {CA}"),
        (certificate(10, "certificate has expired"), TlsCertificateError, "api.test:443: certificate has expired"),
        (certificate(62, "Hostname mismatch"), TlsCertificateError, "api.test:443: Hostname mismatch"),
        (ssl.SSLCertVerificationError(1, "canary"), TlsCertificateError, "api.test:443: certificate not valid"),
        (reason("WRONG_VERSION_NUMBER"), WrongProtocol,
         "api.test:443 does not speak TLS; expected http:// in its URL, or the port where it does"),
        (reason("TLSV1_ALERT_NO_APPLICATION_PROTOCOL"), WrongProtocol,
         "api.test:443 does not speak the HTTP version that is configured; expected another http2"),
        (reason("TLSV1_ALERT_PROTOCOL_VERSION"), TlsProtocolError, "api.test:443: TLSV1_ALERT_PROTOCOL_VERSION"),
        (ssl.SSLError(1, "canary"), TlsProtocolError, "api.test:443: TLS failed"),
    ],
)  # fmt: skip
def test_what_it_means_and_what_to_change(failure: ssl.SSLError, kind: type[UpstreamError], says: str) -> None:
    found = handshake_failure(failure, "api.test:443")
    assert (type(found), found.detail) == (kind, says)
