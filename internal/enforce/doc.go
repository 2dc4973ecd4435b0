// Package enforce is the house that answers: how is it made so?
//
// Its rooms:
//
//   - guard: the phases that no door may skip, the permits it makes, and the cut.
//   - obligation: carries out what a permit obliges, on the bytes that go out.
//   - doortest: the one corpus that every door answers alike.
//   - gateway: the door for model traffic and the order of its work.
//   - gateway/hfhub: the dialect of Hugging Face Hub clients.
//   - gateway/openai: the dialect of OpenAI clients.
//   - gateway/native: our own dialect, for push and pull.
//   - authzen: the door for enforcement points elsewhere, AuthZEN Authorization API 1.0; authzen/wire its messages,
//     authzen/dictionary what a point's words mean here, authzen/remote a decision point elsewhere that is asked too.
//   - extauthz: answers proxies that ask before they pass a request on (Envoy, nginx, Caddy).
//   - admission: the webhook that lets workloads into a cluster only with what is approved there.
package enforce
