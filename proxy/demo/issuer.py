"""The OAuth2 endpoints: ``/oauth2/token`` (RFC 6749) and ``/oauth2/revoke`` (RFC 7009).

The client authenticates by Basic or in the form, never both. First it must be the demo's client, then the
grant is looked at: nobody else learns anything about grants or tokens.
"""

from __future__ import annotations

import re

from aiohttp import web

from proxy.demo import accounts
from proxy.demo.call import Call
from proxy.demo.checks import BASIC_CHALLENGE, basic_pair, same
from proxy.demo.form import NO_STORE, decode, read_form, refused
from proxy.demo.refusal import json_response
from proxy.demo.vault import LIFETIME, Grant, ScopeError, TokenError, Vault

_SCOPE = re.compile(r"(?:[!#-\[\]-~]+(?: [!#-\[\]-~]+)*)?")


class Issuer:
    """Issues the vault's tokens and takes them back."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._grants = {
            "client_credentials": self._client_credentials,
            "refresh_token": self._refresh_token,
            "password": self._password,
        }

    async def token(self, call: Call) -> web.Response:
        """Answer ``POST /oauth2/token``."""
        form = await read_form(call)
        _authenticate(call, form)
        name = _wanted(form, "grant_type")
        if name not in self._grants:
            raise refused("unsupported_grant_type", f"The grant types are {', '.join(self._grants)}.")
        if not _SCOPE.fullmatch(form.get("scope", "")):
            raise refused("invalid_scope", "The scope is not a list of words with single spaces between.")
        try:
            grant = self._grants[name](form)
        except TokenError as error:
            raise refused("invalid_grant", str(error)) from None
        except ScopeError as error:
            raise refused("invalid_scope", str(error)) from None
        return json_response(200, _token_answer(grant), NO_STORE)

    async def revoke(self, call: Call) -> web.Response:
        """Answer ``POST /oauth2/revoke``: 200 without a body, for unknown tokens too."""
        form = await read_form(call)
        _authenticate(call, form)
        self._vault.revoke(_wanted(form, "token"))
        return web.Response(headers=NO_STORE)

    def _client_credentials(self, form: dict[str, str]) -> Grant:
        # No refresh token: RFC 6749, section 4.4.3.
        return self._vault.grant(accounts.CLIENT_ID, form.get("scope", ""), refreshable=False)

    def _refresh_token(self, form: dict[str, str]) -> Grant:
        return self._vault.refresh(_wanted(form, "refresh_token"), form.get("scope", ""))

    def _password(self, form: dict[str, str]) -> Grant:
        username, password = _wanted(form, "username"), _wanted(form, "password")
        if not same(username, accounts.USERNAME) & same(password, accounts.PASSWORD):
            raise refused("invalid_grant", "User or password is wrong.")
        return self._vault.grant(accounts.USERNAME, form.get("scope", ""), refreshable=True)


def _token_answer(grant: Grant) -> dict[str, object]:
    answer: dict[str, object] = {
        "access_token": grant.access_token,
        "token_type": "Bearer",
        "expires_in": LIFETIME,
        "scope": grant.scope,
    }
    return answer | ({"refresh_token": grant.refresh_token} if grant.refresh_token else {})


def _wanted(form: dict[str, str], name: str) -> str:
    if name not in form:
        raise refused("invalid_request", f"The parameter {name} is missing.")
    return form[name]


def _authenticate(call: Call, form: dict[str, str]) -> None:
    """Let nobody but the demo's client through."""
    if call.fields("Authorization"):
        client_id, client_secret = _from_header(call, form)
    else:
        client_id, client_secret = form.get("client_id", ""), form.get("client_secret", "")
    if not same(client_id, accounts.CLIENT_ID) & same(client_secret, accounts.CLIENT_SECRET):
        raise _invalid_client("Client id or secret is missing or wrong.")


def _from_header(call: Call, form: dict[str, str]) -> tuple[str, str]:
    scheme, credentials = call.credentials()
    if "client_secret" in form:
        raise refused("invalid_request", "The client authenticates in two ways at once; one is right.")
    pair = basic_pair(credentials) if scheme == "basic" else None
    if pair is None:
        raise _invalid_client("Authorization is not HTTP Basic with client id and secret.")
    try:
        client_id, client_secret = decode(pair[0]), decode(pair[1])
    except ValueError:
        raise _invalid_client("Client id and secret are not form-encoded (RFC 6749, 2.3.1).") from None
    if form.get("client_id", client_id) != client_id:
        raise refused("invalid_request", "The form names another client than Authorization.")
    return client_id, client_secret


def _invalid_client(description: str) -> Exception:
    return refused("invalid_client", description, status=401, challenge=BASIC_CHALLENGE)
