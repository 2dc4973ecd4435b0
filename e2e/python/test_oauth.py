"""The stock authlib package, unchanged, against the authorization server.

The harness (internal/server/story_peers_test.go) sets the environment: a running server, registered clients, a person's browser.
"""

import html
import json
import os
import re
import time
import unittest
from urllib.parse import urljoin, urlsplit

import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwk, jwt

ISSUER = os.environ["PEER_ISSUER"]
COOKIE = {"cookie": os.environ["PEER_COOKIE"]}
CALLBACK = "https://peer.example/callback"
METADATA = requests.get(ISSUER + "/.well-known/oauth-authorization-server", timeout=30).json()
TOKEN = METADATA["token_endpoint"]


def approve(address):
    """Goes through the consent page as the person's browser does, and returns where it leads."""
    page = requests.get(address, headers=COOKIE, allow_redirects=False, timeout=30)
    if page.status_code == 200:
        fields = {n: html.unescape(v) for n, v in re.findall(r'name="(request|mark)" value="([^"]*)"', page.text)}
        page = requests.post(urljoin(ISSUER, re.search(r'action="([^"]+)"', page.text)[1]), headers=COOKIE, data={**fields, "decision": "approve"}, allow_redirects=False, timeout=30)
    assert page.status_code == 303, page.text
    return page.headers["location"]


def job(client="peer-old-job", key="PEER_OLD_KEY", **more):
    """A client that proves itself by private_key_jwt, as authlib makes it: for the token endpoint, the older rule. Its own
    assertions live for an hour, which is too long here."""
    session = OAuth2Session(client, jwk.ECKey.import_key(json.loads(os.environ[key])), token_endpoint_auth_method="private_key_jwt",
                            revocation_endpoint_auth_method="private_key_jwt", **more)
    session.register_client_auth_method(PrivateKeyJWT(TOKEN, claims={"exp": int(time.time()) + 60}, alg="ES256"))
    return session


class OAuthTest(unittest.TestCase):
    def test_code_flow_with_pkce(self):
        verifier = generate_token(64)
        client = OAuth2Session("peer-public", scope="openid model.read", redirect_uri=CALLBACK, code_challenge_method="S256", token_endpoint_auth_method="none")
        nonce = generate_token()
        address, state = client.create_authorization_url(METADATA["authorization_endpoint"], code_verifier=verifier, nonce=nonce)
        back = approve(address)
        self.assertIn("iss=", back)
        token = client.fetch_token(TOKEN, authorization_response=back, state=state, code_verifier=verifier)
        keys = jwk.KeySet.import_key_set(requests.get(METADATA["jwks_uri"], timeout=30).json())
        claims = jwt.decode(token["id_token"], keys, algorithms=["ES256"]).claims
        self.assertEqual((claims["iss"], claims["sub"], claims["aud"], claims["nonce"]), (ISSUER, "user:ana", "peer-public", nonce))
        self.assertEqual(client.get(METADATA["userinfo_endpoint"]).json()["sub"], "user:ana")

        fresh = client.refresh_token(TOKEN)
        self.assertNotEqual(fresh["refresh_token"], token["refresh_token"])
        with self.assertRaises(OAuthError) as raised:
            client.refresh_token(TOKEN, refresh_token=token["refresh_token"])
        self.assertEqual(raised.exception.error, "invalid_grant")
        with self.assertRaises(OAuthError):
            client.refresh_token(TOKEN, refresh_token=fresh["refresh_token"])

    def test_wrong_state_is_refused_by_the_client(self):
        client = OAuth2Session("peer-public", scope="openid model.read", redirect_uri=CALLBACK, code_challenge_method="S256", token_endpoint_auth_method="none")
        address, _ = client.create_authorization_url(METADATA["authorization_endpoint"], code_verifier=generate_token(64))
        with self.assertRaises(Exception):
            client.fetch_token(TOKEN, authorization_response=approve(address), state="another")

    def test_client_credentials_by_the_older_audience(self):
        token = job().fetch_token(TOKEN, grant_type="client_credentials", scope="model.read")
        self.assertEqual(token["scope"], "model.read")
        self.assertNotIn("refresh_token", token)

    def test_the_older_audience_is_off_unless_registered(self):
        with self.assertRaises(OAuthError) as raised:
            job("peer-job", "PEER_JOB_KEY").fetch_token(TOKEN, grant_type="client_credentials")
        self.assertEqual(raised.exception.error, "invalid_client")

    def test_wider_scope_is_refused(self):
        with self.assertRaises(OAuthError) as raised:
            job().fetch_token(TOKEN, grant_type="client_credentials", scope="policy.activate")
        self.assertEqual(raised.exception.error, "invalid_scope")

    def test_revocation(self):
        token = job().fetch_token(TOKEN, grant_type="client_credentials")
        # A session of its own: authlib writes the jti into the claims it was given, and would show the same one twice.
        self.assertEqual(job().revoke_token(METADATA["revocation_endpoint"], token=token["access_token"]).status_code, 200)
        answer = requests.get(METADATA["userinfo_endpoint"], headers={"authorization": "Bearer " + token["access_token"]}, timeout=30)
        self.assertEqual(answer.status_code, 401)

    def test_redirect_stays_on_the_registered_address(self):
        client = OAuth2Session("peer-public", scope="openid", redirect_uri="https://evil.example/callback", code_challenge_method="S256", token_endpoint_auth_method="none")
        address, _ = client.create_authorization_url(METADATA["authorization_endpoint"], code_verifier=generate_token(64))
        page = requests.get(address, headers=COOKIE, allow_redirects=False, timeout=30)
        self.assertEqual((page.status_code, urlsplit(page.headers.get("location", "")).netloc), (400, ""))
