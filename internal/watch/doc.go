// Package watch answers one question: is what happens here normal, and what is done when it is not?
//
// Its rooms follow the trail and are called by nobody on the path of a request:
//
//   - detect: tripwires over the trail; it yields findings and never acts
//   - respond: from a finding to a notice, more proof, a hold that ends, the end of a session
//   - notify: tells people what happened to their own accounts
//   - metric: how fast orders that take rights away are in force
//
// The house holds no code itself.
package watch
