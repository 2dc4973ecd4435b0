// A certified OpenID Connect provider with one account. Its own sign-in pages are the development ones: any name, any password.
// usage: node oidc.mjs PORT EXTERNAL
import Provider from 'oidc-provider'

const [port, external] = process.argv.slice(2)
const issuer = `http://127.0.0.1:${port}`
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'sallyport', client_secret: 'a-secret-of-the-test', redirect_uris: [`${external}/login/oidc/node/callback`],
    response_types: ['code'], grant_types: ['authorization_code'],
    backchannel_logout_uri: `${external}/logout/backchannel/node`, backchannel_logout_session_required: true,
  }],
  pkce: { required: () => true },
  features: { backchannelLogout: { enabled: true }, pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: true }, rpInitiatedLogout: { enabled: true } },
  claims: { openid: ['sub', 'groups', 'preferred_username'], acr: null, auth_time: null, sid: null },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: ['ml'], preferred_username: id }) }),
  fetch: (url, options = {}) => { delete options.dispatcher; return fetch(url, options) }, // the default one refuses loopback
})
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'))
