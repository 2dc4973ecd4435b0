package device

import (
	"context"
	"strconv"
	"strings"
	"time"

	"sallyport"
)

// A Report is what a device says of itself. Its key has signed it.
type Report struct {
	Family    string    // of the operating system: "linux", "macos", "windows"
	Version   string    // of its kernel or build: "6.1.0-28-amd64"
	Updated   time.Time // when the system was last brought up to date, zero where that is not known
	Encrypted bool      // the disk with the system is encrypted; false where that is not known
	Locked    bool      // the screen locks by itself; likewise
}

// A Rule says when a system counts as patched: brought up to date within MaxAge, and, for a family that Minimum names, at
// that version or later. The zero Rule holds nothing for patched.
type Rule struct {
	MaxAge  time.Duration
	Minimum map[string]string // by family: "6.1"
}

// patched judges a report at a time. What is not known is not patched.
func (r Rule) patched(p Report, now time.Time) bool {
	if r.MaxAge <= 0 || p.Updated.IsZero() || now.Sub(p.Updated) > r.MaxAge {
		return false
	}
	least, ok := r.Minimum[p.Family]
	return !ok || atLeast(p.Version, least)
}

// atLeast compares versions by their numbers: "6.1.0-28-amd64" is at least "6.1" and not "6.2".
func atLeast(version, least string) bool {
	have, want := numbers(version), numbers(least)
	for i, w := range want {
		h := 0
		if i < len(have) {
			h = have[i]
		}
		if h != w {
			return h > w
		}
	}
	return len(have) > 0
}

// numbers reads the numbers that a version begins with.
func numbers(version string) []int {
	var all []int
	for part := range strings.FieldsFuncSeq(version, func(r rune) bool { return r == '.' || r == '-' || r == '+' || r == '_' }) {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || len(all) == 8 {
			break
		}
		all = append(all, n)
	}
	return all
}

// futureLeeway is how far ahead of ours a device's clock may be.
const futureLeeway = 10 * time.Minute

// judge checks a report and reads it in the light of the rule.
func (s *Service) judge(p Report, now time.Time) (Posture, error) {
	const op = "read posture"
	switch p.Family {
	case "linux", "macos", "windows":
	default:
		return Posture{}, sallyport.E(op, sallyport.Invalid, "the family of the system is not known", "use linux, macos or windows")
	}
	if len(p.Version) > 64 || len(numbers(p.Version)) == 0 || sallyport.OneLine(p.Version) != p.Version {
		return Posture{}, sallyport.E(op, sallyport.Invalid, "the version of the system is no version", "write it as 6.1.0")
	}
	if p.Updated.After(now.Add(futureLeeway)) {
		return Posture{}, sallyport.E(op, sallyport.Invalid, "the system was updated in the future", "set the clock of the device")
	}
	return Posture{At: now, OS: p.Family + " " + p.Version, Updated: p.Updated.UTC().Truncate(time.Second), Patched: s.Rule.patched(p, now),
		Encrypted: p.Encrypted, Locked: p.Locked}, nil
}

// take keeps what a device reported.
func (s *Service) take(ctx context.Context, d Device, next Posture) (Device, error) {
	if changed(d.Posture, next) {
		if err := s.Note(ctx, sallyport.Event{Type: sallyport.EventDevicePosture, Who: d.Owner, On: on(d.ID), Detail: map[string]string{"os": next.OS,
			"encrypted": strconv.FormatBool(next.Encrypted), "locked": strconv.FormatBool(next.Locked), "patched": strconv.FormatBool(next.Patched)}}); err != nil {
			return Device{}, err
		}
	}
	return s.Store.Update(ctx, d.ID, func(d *Device) error {
		if !d.Live() {
			return unknown(ReasonUnknown)
		}
		if !next.Stated.IsZero() && !next.Stated.After(d.Posture.Stated) { // another was quicker
			return replayed()
		}
		d.Posture, d.Seen = next, next.At
		return nil
	})
}

// changed reports whether a posture says something else than the one before.
func changed(before, after Posture) bool {
	before.At, after.At, before.Updated, after.Updated = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	before.Stated, after.Stated = time.Time{}, time.Time{}
	return before != after
}
