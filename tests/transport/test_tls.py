"""Contexts towards upstreams: verification is on, and files that are wrong are told."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from proxy.environment import Environment
from proxy.errors import ConfigError
from proxy.transport.tls import TlsSettings, bound, context


def test_verification_is_on_and_contexts_are_shared() -> None:
    made = context()
    assert (made.verify_mode, made.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert made.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context() is made
    assert made.get_ca_certs()


def test_it_can_be_turned_off() -> None:
    made = context(TlsSettings(verify=False))
    assert (made.verify_mode, made.check_hostname) == (ssl.CERT_NONE, False)


def test_an_authority_of_ones_own_stands_alone(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert len(context(TlsSettings(ca=tmp_path / "ca.pem")).get_ca_certs()) == 1


def test_a_client_certificate(tmp_path: Path) -> None:
    made = trustme.CA().issue_cert("client.test")
    made.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    context(TlsSettings(cert=tmp_path / "client.pem"))


@pytest.mark.parametrize("key", ["ca", "cert"])
def test_a_file_that_is_none_is_told(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        context(TlsSettings.model_validate({key: tmp_path / "missing.pem"}))
    (tmp_path / "bad.pem").write_text("s3cret")
    with pytest.raises(ConfigError, match=r"bad\.pem") as caught:
        context(TlsSettings.model_validate({key: tmp_path / "bad.pem"}))
    assert "s3cret" not in str(caught.value)


def test_who_names_authorities_in_the_environment_gets_only_those(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    with Environment().staged():
        assert len(context().get_ca_certs()) == 1


def test_each_configuration_keeps_its_own_contexts(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    settings = TlsSettings(ca=file)
    old, new = Environment(), Environment()
    with old.staged():
        made, later = context(settings), bound()
    file.write_text("broken")
    with new.staged():
        with pytest.raises(ConfigError):
            context(settings)
        assert later(settings) is made
    new.adopt()
    assert later(settings) is made
