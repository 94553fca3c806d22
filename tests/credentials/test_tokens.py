from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credentials._tokens import epoch, from_id_token, from_table, from_text
from proxy.errors import CredentialError
from tests.credentials.doubles import everything
from tests.doubles import START

SOON = datetime.fromtimestamp(START + 90, UTC)
ZULU = SOON.strftime("%Y-%m-%dT%H:%M:%SZ")
EAST = SOON.astimezone(timezone(timedelta(hours=2))).isoformat()
CANARY = "canary-77"


def credential(**status: Any) -> dict[str, Any]:
    return {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}


AWS = {"Version": 1, "AccessKeyId": "AKIA", "SecretAccessKey": "x"}


@pytest.mark.parametrize(
    ("printed", "token", "life"),
    [
        (CANARY, CANARY, None),
        (f"  {CANARY}\r\n\n", CANARY, None),
        (f'"{CANARY}"\n', CANARY, None),
        ({"token": CANARY}, CANARY, None),
        ({"access_token": CANARY, "token_type": "Bearer"}, CANARY, None),
        ({"token": CANARY, "expires_in": 60}, CANARY, 60),
        ({"access_token": CANARY, "expires_in": "60"}, CANARY, 60),
        ({"token": CANARY, "expires_at": START + 90}, CANARY, 90),
        ({"token": CANARY, "expires_at": (START + 90) * 1000}, CANARY, 90),
        ({"token": CANARY, "expires_at": str(int(START) + 90)}, CANARY, 90),
        ({"token": CANARY, "expires_at": SOON.strftime("%Y-%m-%dT%H:%M:%SZ")}, CANARY, 90),
        ({"token": CANARY, "expires_at": SOON.strftime("%Y-%m-%dT%H:%M:%S.000000001Z")}, CANARY, 90),
        ({"token": CANARY, "expires_at": SOON.strftime("%Y-%m-%dT%H:%M:%S")}, CANARY, 90),
        ({"token": CANARY, "expires_at": "soon", "expires_in": True}, CANARY, None),
        ({"token": CANARY, "expires_in": 60, "expires_at": START + 90}, CANARY, 60),
        (credential(token=CANARY), CANARY, None),
        (credential(token=CANARY, expirationTimestamp=SOON.isoformat()), CANARY, 90),
        ({"accessToken": CANARY, "expiresOn": "2001-01-01 00:00:00.000000", "expires_on": START + 90}, CANARY, 90),
        ({"accessToken": CANARY, "expires_on": str(int(START + 90)), "tokenType": "Bearer"}, CANARY, 90),
        ({"accessToken": CANARY, "expiresOn": "soon"}, CANARY, None),
        ({"configuration": {}, "credential": {"access_token": CANARY, "token_expiry": ZULU}}, CANARY, 90),
        ({"credential": {"access_token": CANARY, "id_token": "a.b.c"}}, CANARY, None),
        (
            {"access_token": CANARY, "token_type": "Bearer", "expiry": f"{SOON:%Y-%m-%dT%H:%M:%S}.123456789Z"},
            CANARY,
            90.123456,
        ),
        ({"access_token": CANARY, "expiry": ZULU, "expires_in": 3600}, CANARY, 90),
        ({"access_token": CANARY, "expiry": "", "expires_in": 60}, CANARY, 60),
        ({"authorizationToken": CANARY, "expiration": EAST}, CANARY, 90),
        ({"authorizationToken": CANARY, "expiration": START + 90.5}, CANARY, 90.5),
    ],
)
def test_what_programs_print(printed: Any, token: str, life: float | None) -> None:
    text = printed if isinstance(printed, str) else json.dumps(printed, indent=1)
    made = from_text(text, START, "it")
    assert (made.access_token, made.obtained_at) == (token, START)
    assert made.expires_at == (None if life is None else START + life)


_UNKNOWN = (
    "^it holds no token: it has none of the keys token, access_token, accessToken, credential.access_token, "
    "authorizationToken, and is no ExecCredential$"
)


@pytest.mark.parametrize(
    ("printed", "says"),
    [
        ("", "it holds no token"),
        (f"{CANARY} and more", "it holds no token"),
        (f'"{CANARY} and more"', "it holds no token"),
        (f'["{CANARY}"]', "it is a JSON array; expected an object with a token, or the token as text"),
        (f'[{{"token": "{CANARY}"}}]', "it is a JSON array"),
        (f'"{CANARY}', "it is no JSON, though it begins so"),
        (f"{CANARY}\n{CANARY}", "it holds no token"),
        (f"{CANARY}ä", "it holds no token"),
        (f"{CANARY}\x00", "it holds no token"),
        (f'{{"token": "{CANARY}"', "it is no JSON"),
        ("{" * 100_000, "it is no JSON"),
        ({}, _UNKNOWN),
        ({"tokens": CANARY}, _UNKNOWN),
        ({"credential": CANARY}, _UNKNOWN),
        ({"credential": {"id_token": CANARY}}, _UNKNOWN),
        ({"token": [CANARY]}, "it holds no token"),
        ({"token": f"{CANARY}\n"}, "it holds no token"),
        ({"token": CANARY, "expires_at": START}, "it is a token that has expired"),
        (credential(), "ExecCredential without a token"),
        ({"kind": "ExecCredential"}, "ExecCredential without a token"),
        (credential(clientCertificateData=CANARY), "ExecCredential without a token"),
        (credential(token=CANARY, expirationTimestamp="2020-01-01T00:00:00Z"), "has expired"),
        ({**AWS, "SecretAccessKey": CANARY}, "^it is AWS access keys, which sign requests and are no bearer token; "),
        ({**AWS, "SessionToken": CANARY, "Expiration": ZULU}, "^it is AWS access keys"),
        ({"Credentials": {**AWS, "SessionToken": CANARY}, "AssumedRoleUser": {}}, "^it is AWS access keys"),
        ({"accessToken": CANARY, "expires_on": START - 1}, "it is a token that has expired"),
        ({"authorizationToken": CANARY, "expiration": "2020-01-01T00:00:00+00:00"}, "it is a token that has expired"),
    ],
)
def test_what_can_not_be_read_is_not_repeated(printed: Any, says: str) -> None:
    with pytest.raises(CredentialError, match=says) as caught:
        from_text(printed if isinstance(printed, str) else json.dumps(printed), START, "it")
    assert "canary" not in everything(caught.value)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process can't be changed here")
def test_a_date_of_azure_s_older_programs_is_in_the_time_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-5")  # five hours ahead of UTC
    time.tzset()
    try:
        local = datetime.fromtimestamp(START + 90).strftime("%Y-%m-%d %H:%M:%S.%f")  # as Azure's does
        made = from_text(json.dumps({"accessToken": CANARY, "expiresOn": local}), START, "it")
        assert local[:19] == (SOON + timedelta(hours=5)).strftime("%Y-%m-%d %H:%M:%S")
        assert made.expires_at == START + 90
    finally:
        monkeypatch.undo()
        time.tzset()


def jwt(claims: Any) -> str:
    parts: list[Any] = [{}, claims, "sig"]
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)


def test_an_id_token_says_itself_when_it_expires() -> None:
    assert from_id_token(jwt({"exp": START + 60}), START, "it").expires_at == START + 60
    assert from_id_token(jwt({}), START, "it").expires_at is None


@pytest.mark.parametrize("value", [None, 7, "", "a.b", "a.b.c", jwt([]), "..", jwt({"exp": START - 1})])
def test_what_is_no_id_token(value: object) -> None:
    with pytest.raises(CredentialError):
        from_id_token(value, START, "it")


@pytest.mark.parametrize("value", [None, True, "", "x", "1e400", -1, 0, float("nan"), float("inf"), 10**400, [], {}])
def test_what_is_no_date(value: object) -> None:
    assert epoch(value) is None


@given(
    st.text()
    | st.dictionaries(
        st.sampled_from(["token", "kind", "status", "AccessKeyId", "accessToken", "expiresOn", "credential"]),
        st.text() | st.none(),
    )
)
def test_whatever_is_printed_is_a_token_or_an_error(printed: Any) -> None:
    try:
        token = from_text(printed if isinstance(printed, str) else json.dumps(printed), START, "it")
    except CredentialError:
        return
    assert token.access_token.isascii()
    assert token.access_token.isprintable()
    assert " " not in token.access_token


def test_a_table_is_read_alike() -> None:
    assert from_table({"token": "t", "expires_at": "2027-01-15T08:01:00Z"}, START, "it").expires_at == START + 60
