// Package identity answers one question: who is asking, and how strongly was it proved?
//
// Its rooms keep people and services, the proofs that they give, and what follows from a proof:
//
//   - directory: people, services, groups; active, suspended, removed
//   - credential: passwords, one-time codes, enrolment links, and the one throttle for all guesses
//   - passkey: WebAuthn: ceremonies, classes, models of authenticators
//   - blocklist: the file of passwords known from breaches
//   - recovery: a lost last factor: saved codes, and two other people
//   - device: enrolled devices, their certificates, what they report of themselves
//   - federation: what other people's identity providers are taken for; federation/oidc, federation/saml and federation/ldap speak to them
//   - jose: signed tokens, key sets, proofs of possession; verified strictly, without state
//   - session: who stands behind a cookie, how strongly, for how long; revocation
//   - workload: which job of somebody else's issuer proves which service; trust rules and their keys
//   - token: families of tokens; issuing, exchanging and ending them
//   - token/access: what stands in an access token, and what one that is shown proves
//   - token/codes: authorization codes, device codes, pushed requests, what people have allowed
//   - token/clients: the programs that may ask for tokens, and how each proves who it is
//   - token/dpop: nonces, and the proofs of possession that were seen
//   - token/exchange: tokens for tokens and for services, and whom people let act for them
//   - token/keys: the keys that sign tokens
//   - token/logout: what clients are told when a session ends
//   - provision: which record of which upstream provider somebody is, under an id for ever
//   - intake: what a provider's records do to the directory
//   - secevent: security event tokens and the events of CAEP, pure
//   - signals: streams by which partners hear of our people
//   - heed: what the word of a partner does here
//   - leaver: the end of an account, everywhere at once, and who answers for what it left
//   - signin: the ceremony from first proof to session, and step-up
//   - risk: the score of a sign-in and its reasons, pure
//   - place: where addresses lie, by the operator's files
//   - habit: what is known of people's sign-ins, and what is held against them since
//   - caller: who makes a call, by token, key, certificate and device
//
// The house holds no code itself.
package identity
