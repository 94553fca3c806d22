from __future__ import annotations

import hashlib
from urllib.request import parse_http_list, parse_keqv_list

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credentials._challenges import Challenge, parse
from proxy.credentials._digest_answer import Account, DigestChallenge, chosen

MUFASA = Account("Mufasa", "Circle of Life")
REALM = 'realm="http-auth@example.org"'
NONCE = 'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"'
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
OPAQUE = 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'


def made(parameters: str) -> DigestChallenge:
    found = chosen(parse(f"Digest {parameters}"))
    assert found is not None
    return found


def said(authorization: bytes) -> dict[str, str]:
    scheme, _, rest = authorization.decode().partition(" ")
    assert scheme == "Digest"
    return parse_keqv_list(parse_http_list(rest))


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_the_rfc(algorithm: str, response: str) -> None:
    """RFC 7616, section 3.9.1."""
    challenge = made(f'{REALM}, qop="auth, auth-int", algorithm={algorithm}, {NONCE}, {OPAQUE}')
    assert challenge.authorization(MUFASA, "GET", b"/dir/index.html", cnonce=CNONCE).decode() == (
        f'Digest username="Mufasa", {REALM}, {NONCE}, {OPAQUE}, uri="/dir/index.html", response="{response}", '
        f'algorithm={algorithm}, qop=auth, nc=00000001, cnonce="{CNONCE}"'
    )


def test_the_name_of_a_user_is_hashed_where_the_server_can_read_that() -> None:
    """RFC 7616, section 3.9.2, with the hash of its erratum 4897."""
    doe = Account("Jäsøn Doe", "Secret, or not?")
    challenge = made(
        'realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="n", charset=UTF-8, userhash=true'
    )
    fields = said(challenge.authorization(doe, "GET", b"/doe.json"))
    assert fields["username"] == "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
    assert fields["userhash"] == "true"


@pytest.mark.parametrize(
    ("username", "charset", "sent"),
    [
        ("Jäsøn Doe", ", charset=UTF-8", "username*=UTF-8''J%C3%A4s%C3%B8n%20Doe"),
        ("Jäsøn Doe", "", 'username="Jäsøn Doe"'),
        ("a,b", ", charset=UTF-8", 'username="a,b"'),
        ('a"b\\c', "", 'username="a\\"b\\\\c"'),
    ],
)
def test_the_name_of_a_user_arrives(username: str, charset: str, sent: str) -> None:
    challenge = made(f'realm="r", nonce="n", qop="auth"{charset}')
    assert f"Digest {sent}, realm=" in challenge.authorization(Account(username, "p"), "GET", b"/").decode()


def test_with_sess_the_password_is_bound_to_both_nonces() -> None:
    def h(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    challenge = made('realm="r", nonce="n", qop="auth", algorithm=sha-256-SESS')
    fields = said(challenge.authorization(Account("u", "p"), "GET", b"/x", cnonce="c"))
    a1 = h(f"{h('u:r:p')}:n:c")
    assert fields["response"] == h(f"{a1}:n:00000001:c:auth:{h('GET:/x')}")
    assert fields["algorithm"] == "sha-256-SESS"


def test_without_qop_and_algorithm_nothing_is_said_of_them() -> None:
    """As of RFC 2069, which old servers keep to."""
    fields = said(made('realm="r", nonce="n"').authorization(Account("u", "p"), "GET", b"/x"))
    assert fields.keys() == {"username", "realm", "nonce", "uri", "response"}

    def h(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    assert fields["response"] == h(f"{h('u:r:p')}:n:{h('GET:/x')}")


def test_what_is_quoted_comes_back_as_it_was() -> None:
    challenge = made(r'realm="a \"b\" \\ c", nonce="n\"", opaque="o\\", qop=auth')
    authorization = challenge.authorization(Account("u", "p"), "GET", b'/x?"')
    assert rb'realm="a \"b\" \\ c", nonce="n\"", opaque="o\\", uri="/x?\""' in authorization


def test_each_answer_counts_and_has_a_nonce_of_its_own() -> None:
    challenge = made('realm="r", nonce="n", qop="auth"')
    answers = [said(challenge.authorization(MUFASA, "GET", b"/")) for _ in range(3)]
    assert [each["nc"] for each in answers] == ["00000001", "00000002", "00000003"]
    assert len({each["cnonce"] for each in answers}) == 3
    renewed = said(challenge.renewed("m").authorization(MUFASA, "GET", b"/"))
    assert (renewed["nonce"], renewed["nc"]) == ("m", "00000001")


@pytest.mark.parametrize(
    ("parameters", "known"),
    [
        ('realm="r", nonce="n"', True),
        ('realm="r", nonce="n", qop=""', True),
        ('realm="r", nonce="n", qop="auth-int"', True),
        ('realm="r", nonce="n", qop="auth-conf,AUTH"', True),
        ('realm="r", nonce="n", qop="auth-conf"', False),
        *((f'realm="r", nonce="n", algorithm={name}', True) for name in ("SHA", "SHA-512", "md5-sess", '"MD5"')),
        *((f'realm="r", nonce="n", algorithm={name}', False) for name in ("SHA-1", "AKAv1-MD5", "sess", "-sess")),
        ('realm="r"', False),
        ('nonce="n"', False),
    ],
)
def test_what_is_supported(parameters: str, known: bool) -> None:
    assert (chosen(parse(f"Digest {parameters}")) is not None) is known


def test_other_schemes_are_passed_over() -> None:
    parameters = {"realm": "r", "nonce": "n"}
    assert chosen([Challenge("basic", parameters), Challenge("bearer", parameters)]) is None


@given(st.dictionaries(st.sampled_from(["realm", "nonce", "qop", "algorithm", "opaque", "userhash"]), st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20)))  # fmt: skip
def test_whatever_a_server_sends_makes_one_field(parameters: dict[str, str]) -> None:
    challenge = chosen([Challenge("digest", parameters)])
    if challenge is not None:
        authorization = challenge.authorization(MUFASA, "GET", b"/")
        assert b"Circle" not in authorization
        assert not {b"\r", b"\n", b"\0"} & {bytes([byte]) for byte in authorization}
