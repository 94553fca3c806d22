"""An authorization server by Authlib, on a real socket: it judges what our client sends, by other people's code.

It refuses what is not by the book: PKCE, client authentication, assertions, the polling of a device.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant, DeviceCredentialDict
from authlib.oauth2.rfc9207 import IssuerParameter
from flask import Flask, Response, jsonify, request
from joserfc import jwk
from werkzeug.serving import WSGIRequestHandler, make_server

from proxy.keys import SigningKey

SECRET = "s3cret%/:+of-the-client-that-is-long-enough-for-HS512-which-wants-64-bytes"
USER, PASSWORD = "user@example.com", "s3cret-of-the-user"
KEY = SigningKey.generate()
# client_id: how it authenticates at the token endpoint, in Authlib's words
CLIENTS = {
    "basic": "client_secret_basic", "post": "client_secret_post", "none": "none",
    "private_key_jwt": "client_assertion_jwt", "client_secret_jwt": "client_assertion_jwt",
}  # fmt: skip
WAYS = ["client_secret_basic", "client_secret_post", "none", "client_assertion_jwt"]


class Client(ClientMixin):
    def __init__(self, client_id: str) -> None:
        self.client_id = client_id

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str) -> str:
        return scope or ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri.startswith("http://127.0.0.1:") and redirect_uri.endswith("/callback")

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == CLIENTS[self.client_id]

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return True


class Code(AuthorizationCodeMixin):
    def __init__(self, of: Any) -> None:
        data = of.payload.data
        self.redirect_uri, self.scope, self.user = data.get("redirect_uri"), data.get("scope"), of.user
        self.client_id = of.client.client_id
        self.code_challenge, self.code_challenge_method = data.get("code_challenge"), data.get("code_challenge_method")

    def get_redirect_uri(self) -> Any:
        return self.redirect_uri

    def get_scope(self) -> Any:
        return self.scope


class Issued(TokenMixin):
    def __init__(self, token: dict[str, Any], client: Client, user: str) -> None:
        self.token, self.client, self.user, self.revoked = token, client, user, False

    def check_client(self, client: Client) -> bool:
        return client.client_id == self.client.client_id

    def get_scope(self) -> str:
        return str(self.token.get("scope", ""))


class Authority:
    """What it knows and has seen.

    Attributes:
        url: its issuer.
        user_says: whether the user grants; None as long as nothing was said.
        forms: of the token requests.
        issued: by refresh token, and by access token.
        slow_downs: how many polls it still answers with slow_down.
        interval: seconds between two polls of a device.
        drops: scopes that are not granted, whoever asks for them.

    """

    def __init__(self) -> None:
        self.url = ""
        self.user_says: bool | None = True
        self.forms: list[dict[str, str]] = []
        self.refresh: dict[str, Issued] = {}
        self.access: dict[str, Issued] = {}
        self.codes: dict[str, Code] = {}
        self.devices: dict[str, DeviceCredentialDict] = {}
        self.slow_downs = 0
        self.drops: set[str] = set()
        self.interval: float = 5
        self.jtis: set[str] = set()
        self.metadata: dict[str, Any] = {}

    def save(self, token: dict[str, Any], of: Any) -> None:
        if "scope" in token:
            token["scope"] = " ".join(scope for scope in token["scope"].split() if scope not in self.drops)
        issued = Issued(token, of.client, of.user)
        self.access[token["access_token"]] = issued
        if "refresh_token" in token:
            self.refresh[token["refresh_token"]] = issued

    def key_of(self, client: Client) -> jwk.Key:
        if client.client_id == "client_secret_jwt":
            return jwk.OctKey.import_key(SECRET)
        return jwk.ECKey.import_key({**KEY.public_jwk()})


@contextmanager
def authority() -> Iterator[Authority]:
    """Serve one on a free port of this machine."""
    state = Authority()
    app = Flask(__name__)
    app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
    _oauth2(app, state)

    class Quiet(WSGIRequestHandler):
        def log(self, *args: Any) -> None:
            """Nothing: its lines hold codes."""

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    state.url = f"http://127.0.0.1:{server.port}"
    state.metadata = {
        "issuer": state.url,
        "token_endpoint": f"{state.url}/token",
        "authorization_endpoint": f"{state.url}/authorize",
        "device_authorization_endpoint": f"{state.url}/device",
        "authorization_response_iss_parameter_supported": True,
    }
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _oauth2(app: Flask, state: Authority) -> None:
    server = AuthorizationServer(app, lambda name: Client(name) if name in CLIENTS else None, state.save)
    for grant, extensions in _grants(state):
        server.register_grant(grant, extensions)
    server.register_client_auth_method("client_assertion_jwt", _assertion(state))
    server.register_endpoint(_device_endpoint(state))

    class Issuer(IssuerParameter):
        def get_issuer(self) -> str:
            return state.url

    server.register_extension(Issuer())

    @app.get("/.well-known/oauth-authorization-server")
    def metadata() -> Response:
        return jsonify(state.metadata)

    @app.get("/authorize")
    def authorize() -> Any:
        grant = server.get_consent_grant(end_user=USER)
        return server.create_authorization_response(grant_user=USER if state.user_says else None, grant=grant)

    @app.post("/token")
    def token() -> Any:
        state.forms.append(dict(request.form))
        return server.create_token_response()

    @app.post("/device")
    def device() -> Any:
        return server.create_endpoint_response("device_authorization")

    @app.get("/api")
    def api() -> tuple[Response, int]:
        found = state.access.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        good = found is not None and not found.revoked
        return jsonify({"user": found.user if good and found else None}), 200 if good else 401


def _grants(state: Authority) -> list[tuple[Any, list[Any]]]:
    class AuthorizationCode(grants.AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = WAYS

        def save_authorization_code(self, code: str, of: Any) -> None:
            state.codes[code] = Code(of)

        def query_authorization_code(self, code: str, client: Client) -> Code | None:
            found = state.codes.get(code)
            return found if found is not None and found.client_id == client.client_id else None

        def delete_authorization_code(self, code: Code) -> None:
            state.codes = {name: each for name, each in state.codes.items() if each is not code}

        def authenticate_user(self, code: Code) -> Any:
            return code.user

    class Refresh(grants.RefreshTokenGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = WAYS
        INCLUDE_NEW_REFRESH_TOKEN = True

        def authenticate_refresh_token(self, refresh_token: str) -> Issued | None:
            found = state.refresh.get(refresh_token)
            return found if found is not None and not found.revoked else None

        def authenticate_user(self, issued: Issued) -> str:
            return issued.user

        def revoke_old_credential(self, issued: Issued) -> None:
            issued.revoked = True

    class Password(grants.ResourceOwnerPasswordCredentialsGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = WAYS

        def authenticate_user(self, username: str, password: str) -> str | None:
            return username if (username, password) == (USER, PASSWORD) else None

    class ClientCredentials(grants.ClientCredentialsGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = WAYS

    return [
        (AuthorizationCode, [CodeChallenge(required=True)]), (Refresh, []), (Password, []), (ClientCredentials, []),
        (_bearer(state), []), (_device(state), []),
    ]  # fmt: skip


def _bearer(state: Authority) -> Any:
    class Bearer(JWTBearerGrant):
        def resolve_issuer_client(self, issuer: str) -> Client | None:
            return Client(issuer) if issuer in CLIENTS else None

        def resolve_client_public_key(self, client: Client) -> jwk.Key:
            return jwk.ECKey.import_key({**KEY.public_jwk()})

        def get_audiences(self) -> list[str]:
            return [f"{state.url}/token"]

        def authenticate_user(self, subject: str) -> str | None:
            return subject if subject == USER else None

        def has_granted_permission(self, client: Client, user: str) -> bool:
            return True

    return Bearer


def _device(state: Authority) -> Any:
    class Device(DeviceCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = WAYS

        def query_device_credential(self, device_code: str) -> Any:
            return state.devices.get(device_code)

        def query_user_grant(self, user_code: str) -> tuple[str, bool] | None:
            return None if state.user_says is None or state.slow_downs else (USER, state.user_says)

        def should_slow_down(self, credential: Any) -> bool:
            state.slow_downs -= 1
            return state.slow_downs >= 0

    return Device


def _device_endpoint(state: Authority) -> Any:
    class Endpoint(DeviceAuthorizationEndpoint):
        CLIENT_AUTH_METHODS = WAYS

        def create_endpoint_response(self, of: Any) -> Any:
            self.INTERVAL = state.interval
            return super().create_endpoint_response(of)

        def get_verification_uri(self) -> str:
            return f"{state.url}/activate"

        def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
            life = time.time() + data["expires_in"]
            found = DeviceCredentialDict(client_id=client_id, scope=scope, expires_at=life, **data)
            state.devices[data["device_code"]] = found

    return Endpoint


def _assertion(state: Authority) -> Any:
    class Assertion(JWTBearerClientAssertion):
        def get_audiences(self) -> list[str]:
            return [state.url, f"{state.url}/token"]

        def validate_jti(self, claims: Any, jti: str) -> bool:
            fresh = jti not in state.jtis
            state.jtis.add(jti)
            return fresh

        def resolve_client_public_key(self, client: Client) -> jwk.Key:
            return state.key_of(client)

    return Assertion()


def table(server: Authority, grant: str, way: str = "basic", **keys: Any) -> dict[str, Any]:
    """A credential for this server."""
    needs: dict[str, Any] = {
        "basic": {"client_secret": SECRET}, "post": {"client_secret": SECRET}, "none": {},
        "private_key_jwt": {"key": KEY.private_jwk()}, "client_secret_jwt": {"client_secret": SECRET},
    }[way]  # fmt: skip
    return {
        "type": "oauth2", "grant": grant, "issuer": server.url, "client_id": way, "client_auth": way, **needs, **keys,
    }  # fmt: skip


def toml(credential: dict[str, Any]) -> str:
    """As a configuration has it: JSON's texts are TOML's."""
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in credential.items())
