//go:build race

package decision_test

// someDenials is how many denials a test draws under the race detector, which makes each cost ten times as much.
const someDenials = 500
