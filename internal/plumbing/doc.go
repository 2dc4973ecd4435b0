// Package plumbing answers one question: which small tools must be safe for everybody?
//
// Its rooms know nothing of models, people or policy, and every other house may use them:
//
//   - secret: a value that never prints, never encodes, compares in constant time and can be zeroed
//   - httpsafe: servers and clients with limits, and a dialer that refuses private addresses
//   - softkey: a passkey in software, for programs that act as people
//   - tpmkey: signing keys that never leave a TPM 2.0
//   - posture: what a computer can say of its own state
//   - tail: the loop by which somebody follows the trail and keeps how far they came
//
// The house holds no code itself.
package plumbing
