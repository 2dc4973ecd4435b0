//go:build race

package seal

// raceEnabled: under the race detector sync.Pool drops items at random.
const raceEnabled = true
