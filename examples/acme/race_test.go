//go:build race

package acme_test

// requests is how many questions both engines are asked; the race detector makes each ten times slower.
const requests = 200
