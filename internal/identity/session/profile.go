package session

import (
	"fmt"
	"maps"
	"time"

	"sallyport"
)

// Limits say how long a session lasts: unused, and at all.
type Limits struct {
	Idle     time.Duration
	Absolute time.Duration
}

// A Profile is how long proofs count, as data: the reauthentication requirements of SP 800-63B-4 sections 2.1.3 to 2.3.3.
type Profile struct {
	Name   string
	Limits map[sallyport.Assurance]Limits // a level without an entry gets no session
	Fresh  time.Duration                  // how old a proof may be for changing one's own authenticators
	Warn   time.Duration                  // how long before its end a person is told
}

// ProfileNamed returns the profile "aal2" (every session ends after an hour without use and after twelve hours in any
// case; SP 800-63B-4 allows 24) or "aal3" (after 15 minutes without use, twelve hours in any case). "" is aal2.
func ProfileNamed(name string) (Profile, error) {
	hardware := Limits{Idle: 15 * time.Minute, Absolute: 12 * time.Hour}
	p := Profile{Name: name, Limits: map[sallyport.Assurance]Limits{sallyport.Hardware: hardware}, Warn: 2 * time.Minute}
	usual := Limits{Idle: time.Hour, Absolute: 12 * time.Hour}
	switch name {
	case "", "aal2":
		p.Name, p.Fresh = "aal2", 15*time.Minute
	case "aal3":
		usual, p.Fresh = hardware, 5*time.Minute
	default:
		return Profile{}, sallyport.E("choose assurance profile", sallyport.Invalid, fmt.Sprintf("there is no profile %.40q", name), "use aal2 or aal3")
	}
	for _, level := range []sallyport.Assurance{sallyport.SingleFactor, sallyport.MultiFactor, sallyport.PhishingResistant} {
		p.Limits[level] = usual
	}
	return p, nil
}

// DefaultLimits are those of the profile aal2.
func DefaultLimits() map[sallyport.Assurance]Limits {
	p, err := ProfileNamed("aal2")
	if err != nil {
		panic(err) // cannot happen: the name is ours
	}
	return maps.Clone(p.Limits)
}

// Ends is when a session ends unless it is used before.
func (s Session) Ends() time.Time {
	if s.IdleEnd.Before(s.End) {
		return s.IdleEnd
	}
	return s.End
}

// Fresh tells whether the proof of a session is strong enough and not older than age.
func (s Session) Fresh(level sallyport.Assurance, age time.Duration, now time.Time) bool {
	return s.Assurance >= level && now.Sub(s.AuthTime) <= age
}
