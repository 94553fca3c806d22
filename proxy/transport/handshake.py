"""What a failed TLS handshake means, in a sentence that says what to change. Nothing has been sent by then."""

from __future__ import annotations

import ssl

from proxy.errors import TlsCertificateError, TlsProtocolError, UpstreamError, WrongProtocol

# OpenSSL's codes (openssl-verification-options(1)) for a chain that leads to no trusted authority: the issuer is
# missing, its key is another one, or the certificate is its own issuer.
_NO_AUTHORITY = frozenset({2, 7, 18, 19, 20, 21, 24, 27, 30})
# How OpenSSL's versions read the start of a plain response, which is no TLS record.
_NO_TLS = frozenset(
    {
        "HTTPS_PROXY_REQUEST", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    }
)  # fmt: skip
CA = "expected tls = { ca = 'FILE' } with the authority that signed it, or SSL_CERT_FILE in the environment"
MAYBE_PLAIN = "if it does not speak TLS, expected http:// in its URL"


def handshake_failure(failure: ssl.SSLError, place: str) -> UpstreamError:
    """Return what a failure of the handshake with `place` (host and port) means."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        problem = getattr(failure, "verify_message", "") or "certificate not valid"
        hint = f"; {CA}" if getattr(failure, "verify_code", 0) in _NO_AUTHORITY else ""
        return TlsCertificateError(f"{place}: {problem}{hint}")
    reason = getattr(failure, "reason", None) or "TLS failed"
    if reason in _NO_TLS:
        return WrongProtocol(f"{place} does not speak TLS; expected http:// in its URL, or the port where it does")
    if reason.endswith("ALERT_NO_APPLICATION_PROTOCOL"):
        return WrongProtocol(f"{place} does not speak the HTTP version that is configured; expected another http2")
    return TlsProtocolError(f"{place}: {reason}")
