//go:build !race

package decision_test

const someDenials = 10_000
