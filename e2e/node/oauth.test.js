// openid-client (a certified OpenID relying party), unchanged, against the authorization server.
// The harness (internal/server/story_peers_test.go) sets the environment: a running server, registered clients, a person's browser.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as oidc from "openid-client";

const set = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run this suite through the harness`);
  return value;
};
const issuer = new URL(set("PEER_ISSUER"));
const cookie = set("PEER_COOKIE"); // of a browser in which the person is signed in
const model = set("PEER_MODEL");
const proof = set("PEER_PROOF"); // of a workload, by another issuer
const origin = issuer.origin;

const key = async (name) => {
  const jwk = JSON.parse(set(name));
  return { key: await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]), kid: jwk.kid };
};
const dpop = async (config) => oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair("ES256"));
const web = async () => oidc.discovery(issuer, "peer-web", undefined, oidc.PrivateKeyJwt(await key("PEER_WEB_KEY")));
const job = async () => oidc.discovery(issuer, "peer-job", undefined, oidc.PrivateKeyJwt(await key("PEER_JOB_KEY")));
const cli = () => oidc.discovery(issuer, "sallyport-cli", undefined, oidc.None());

// browse follows the server's own redirects as the person's browser does, and approves what it asks.
const browse = async (address) => {
  let response = await fetch(address, { headers: { cookie }, redirect: "manual" });
  for (let i = 0; i < 6; i++) {
    const location = response.headers.get("location");
    if (location) {
      const to = new URL(location, origin);
      if (to.origin !== origin || !to.pathname.startsWith("/oauth/")) return to;
      response = await fetch(to, { headers: { cookie }, redirect: "manual" });
      continue;
    }
    const page = await response.text();
    const field = (name) => page.match(new RegExp(`name="${name}" value="([^"]*)"`))?.[1].replaceAll("&amp;", "&").replaceAll("&#43;", "+");
    const action = page.match(/action="([^"]+)"/)?.[1];
    assert.equal(response.status, 200, page);
    assert.ok(field("mark"), page);
    const body = new URLSearchParams({ request: field("request"), mark: field("mark"), decision: "approve" });
    response = await fetch(new URL(action, origin), { method: "POST", headers: { cookie }, body, redirect: "manual" });
    if (response.status === 200) return response;
  }
  throw new Error("no end of redirects");
};

const signIn = async (config, handle, more = {}) => {
  const verifier = oidc.randomPKCECodeVerifier();
  const state = oidc.randomState();
  const nonce = oidc.randomNonce();
  const parameters = {
    redirect_uri: "https://peer.example/callback", scope: "openid model.read model.infer server.read", state, nonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256", ...more,
  };
  const address = await oidc.buildAuthorizationUrlWithPAR(config, parameters, { DPoP: handle });
  assert.deepEqual([...address.searchParams.keys()].sort(), ["client_id", "request_uri"]);
  const back = await browse(address);
  return oidc.authorizationCodeGrant(config, back, { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true }, undefined, { DPoP: handle });
};

test("metadata tells what there is", async () => {
  const metadata = (await cli()).serverMetadata();
  assert.deepEqual(metadata.response_types_supported, ["code"]);
  assert.equal(metadata.authorization_response_iss_parameter_supported, true);
  for (const name of ["pushed_authorization_request_endpoint", "device_authorization_endpoint", "userinfo_endpoint", "end_session_endpoint", "introspection_endpoint", "revocation_endpoint"]) {
    assert.ok(metadata[name].startsWith(origin + "/"), name);
  }
  assert.ok(metadata.dpop_signing_alg_values_supported.includes("ES256"));
  assert.equal(metadata.supportsPKCE(), true);
});

test("PAR, DPoP with a nonce, private_key_jwt, an ID token, user info, renewal, revocation", async () => {
  const config = await web();
  const handle = await dpop(config);
  const tokens = await signIn(config, handle);
  assert.equal(tokens.token_type, "dpop");
  const claims = tokens.claims();
  assert.equal(claims.sub, "user:ana");
  assert.ok(claims.acr && claims.sid && claims.auth_time);

  const info = await oidc.fetchUserInfo(config, tokens.access_token, claims.sub, { DPoP: handle });
  assert.equal(info.preferred_username, "ana");
  const who = await oidc.fetchProtectedResource(config, tokens.access_token, new URL(origin + "/api/v1/whoami"), "GET", null, null, { DPoP: handle });
  assert.equal(who.status, 200);
  assert.equal((await who.json()).id, "user:ana");
  await assert.rejects(oidc.fetchProtectedResource(config, tokens.access_token, new URL(origin + "/api/v1/whoami"), "GET"), (e) => e.cause?.[0]?.scheme !== undefined || e.status === 401);

  const renewed = await oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP: handle });
  assert.equal(renewed.refresh_token, undefined, "a client that proves itself and its key keeps its refresh token");
  await assert.rejects(oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP: await dpop(config) }), { error: "invalid_grant" });

  await oidc.tokenRevocation(config, tokens.refresh_token);
  await assert.rejects(oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP: handle }), { error: "invalid_grant" });
});

test("authorization_details come back as they were asked", async () => {
  const config = await web();
  const handle = await dpop(config);
  const details = [{ type: "sallyport", actions: ["model.infer"], identifier: model, purpose: "evaluation" }];
  const tokens = await signIn(config, handle, { scope: "openid", authorization_details: JSON.stringify(details), prompt: "consent" });
  assert.deepEqual(tokens.authorization_details, details);
  assert.equal(tokens.scope, `openid model.infer@${model}`);
});

test("a level that the person has not proved leads to step-up, and silently to login_required", async () => {
  const config = await web();
  const handle = await dpop(config);
  const verifier = oidc.randomPKCECodeVerifier();
  const parameters = { redirect_uri: "https://peer.example/callback", scope: "openid", acr_values: "aal3", code_challenge: await oidc.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256" };
  const address = await oidc.buildAuthorizationUrlWithPAR(config, parameters, { DPoP: handle });
  const to = await browse(address);
  assert.equal(to.pathname, "/stepup");
  assert.equal(to.searchParams.get("needs"), "aal3");
  const silent = await browse(await oidc.buildAuthorizationUrlWithPAR(config, { ...parameters, prompt: "none" }, { DPoP: handle }));
  await assert.rejects(oidc.authorizationCodeGrant(config, silent, { pkceCodeVerifier: verifier }, undefined, { DPoP: handle }), { error: "login_required" });
});

test("client credentials, bound and not", async () => {
  const config = await job();
  const handle = await dpop(config);
  const bound = await oidc.clientCredentialsGrant(config, { scope: "model.read" }, { DPoP: handle });
  assert.equal(bound.token_type, "dpop");
  assert.equal(bound.refresh_token, undefined);
  const bearer = await oidc.clientCredentialsGrant(config, { resource: origin + "/hf" });
  assert.ok(bearer.access_token.startsWith("hf_"));
  await assert.rejects(oidc.clientCredentialsGrant(config, { scope: "policy.activate" }), { error: "invalid_scope" });
  await assert.rejects(oidc.clientCredentialsGrant(await cli(), {}), { error: "unauthorized_client" });
});

test("token exchange: narrower, never wider; and the proof of a workload", async () => {
  const config = await job();
  const handle = await dpop(config);
  const grant = "urn:ietf:params:oauth:grant-type:token-exchange";
  const kind = "urn:ietf:params:oauth:token-type:access_token";
  const subject = await oidc.clientCredentialsGrant(config, {}, { DPoP: handle });
  const less = await oidc.genericGrantRequest(config, grant, { subject_token: subject.access_token, subject_token_type: kind, scope: `model.read@${model}` }, { DPoP: handle });
  assert.equal(less.scope, `model.read@${model}`);
  assert.equal(less.issued_token_type, kind);
  const more = { subject_token: less.access_token, subject_token_type: kind, scope: "model.read" };
  await assert.rejects(oidc.genericGrantRequest(config, grant, more, { DPoP: handle }), { error: "invalid_scope" });
  await assert.rejects(oidc.genericGrantRequest(config, grant, { subject_token: less.access_token, subject_token_type: kind }), { error: "invalid_grant" });
  const worked = await oidc.genericGrantRequest(config, grant, { subject_token: proof, subject_token_type: "urn:ietf:params:oauth:token-type:id_token", resource: model });
  assert.equal(worked.scope, `model.read@${model} model.list@${model}`);
});

test("a device code, polled, and its refresh token rotated and reused", async () => {
  const config = await cli();
  const started = await oidc.initiateDeviceAuthorization(config, { scope: "model.read" });
  const page = await (await fetch(started.verification_uri, { method: "POST", headers: { cookie }, body: new URLSearchParams({ user_code: started.user_code }), redirect: "manual" })).text();
  const field = (name) => page.match(new RegExp(`name="${name}" value="([^"]*)"`))[1];
  const decided = await fetch(origin + "/activate/decide", { method: "POST", headers: { cookie }, body: new URLSearchParams({ request: field("request"), mark: field("mark"), decision: "approve" }), redirect: "manual" });
  assert.equal(decided.status, 200);
  const tokens = await oidc.pollDeviceAuthorizationGrant(config, started);
  const next = await oidc.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(next.refresh_token, tokens.refresh_token);
  await assert.rejects(oidc.refreshTokenGrant(config, tokens.refresh_token), { error: "invalid_grant" });
  await assert.rejects(oidc.refreshTokenGrant(config, next.refresh_token), { error: "invalid_grant" }, "the family is dead");
});

test("introspection by a resource server", async () => {
  const subject = await oidc.clientCredentialsGrant(await job(), { resource: "https://mlflow.example/api" });
  const server = await oidc.discovery(issuer, "peer-rs", undefined, oidc.PrivateKeyJwt(await key("PEER_RS_KEY")));
  const seen = await oidc.tokenIntrospection(server, subject.access_token);
  assert.equal(seen.active, true);
  assert.equal(seen.aud, "https://mlflow.example/api");
  const other = await oidc.clientCredentialsGrant(await job(), {});
  assert.deepEqual(await oidc.tokenIntrospection(server, other.access_token), { active: false });
});

test("a request that was not pushed, where it must be", async () => {
  const config = await web();
  const address = oidc.buildAuthorizationUrl(config, { redirect_uri: "https://peer.example/callback", scope: "openid", code_challenge: await oidc.calculatePKCECodeChallenge("x".repeat(43)), code_challenge_method: "S256" });
  const back = await browse(address);
  assert.equal(back.searchParams.get("error"), "invalid_request");
  assert.equal(back.searchParams.get("iss"), origin);
});
