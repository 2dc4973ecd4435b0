//go:build !race

package acme_test

// requests is how many questions both engines are asked.
const requests = 5_000
