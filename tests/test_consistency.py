"""What no key can tell alone; how it is told stands in test_config.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from proxy import consistency
from proxy.mistakes import Mistake
from proxy.transport.tls import TlsSettings


def paths(mistakes: object) -> list[str]:
    return [".".join(mistake.path) for mistake in mistakes]  # type: ignore[attr-defined]  # an iterator of Mistake


def test_references_are_judged_whatever_else_is_wrong() -> None:
    table = {
        "routes": {"a": {"credential": "x"}, "b": 3, "c": {"credential": {"credentials": ["none", "y"]}}, "d": {}},
        "credentials": {"x": 3, "f": {"credentials": "x, z"}, "g": {"credentials": 3}},
    }
    assert paths(consistency.references(table)) == ["credentials.f.credentials", "routes.c.credential.credentials"]
    assert paths(consistency.references({"routes": 3, "credentials": 3})) == []


def test_local_listeners_need_no_reason() -> None:
    addresses = ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/x.sock", "", "0.0.0.0:1", "10.0.0.1:1", "[::]:1"]
    found = list(consistency.exposed([((address,), address) for address in addresses], "x"))
    assert [mistake.path[0] for mistake in found] == ["0.0.0.0:1", "10.0.0.1:1", "[::]:1"]


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("own", ["cert", "key"])
def test_a_tls_key_with_a_password_is_told(tmp_path: Path, form: PrivateFormat, own: str) -> None:
    leaf = trustme.CA().issue_cert("client.test")
    made = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"p"))
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
    key.write_bytes(made)
    cert.write_bytes(chain + (made if own == "cert" else b""))
    tls = TlsSettings(cert=cert, key=None if own == "cert" else key)
    (mistake,) = consistency.certificates([(("tls",), tls)])
    assert str(mistake) == f"tls.{own}: the key has a password; expected a key without one, as PEM"


def test_only_texts_in_the_file_itself_are_its_secrets(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.touch(0o644)
    table = {"a": "secret", "b": {"env": "X"}, "username": "u"}
    secrets = [("a",), ("b",), ("c",), ("username",), ("a", "deeper")]
    assert paths(consistency.readable(secrets, file, table)) == ["a"]
    file.chmod(0o600)
    assert paths(consistency.readable(secrets, file, table)) == []


def test_a_file_that_can_not_be_looked_at_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "is_file", refuse)
    assert not consistency._exists(Path("/x"))
    assert consistency._exists(None)


def test_mistakes_are_sorted_by_their_path() -> None:
    assert sorted([Mistake(("b",), "x"), Mistake(("a", "b"), "y"), Mistake(("a",), "z")]) == [
        Mistake(("a",), "z"),
        Mistake(("a", "b"), "y"),
        Mistake(("b",), "x"),
    ]
