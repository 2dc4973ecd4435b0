//go:build !race

package cedar_test

const underRace = false
