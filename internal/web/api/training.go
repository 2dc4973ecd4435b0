package api

import (
	"time"

	"sallyport"
)

// Training is when a person was last trained to see through fraud.
type Training struct {
	Who sallyport.PrincipalID `json:"who"`
	// At is when, to the second; the zero time: never, as far as is known.
	At   time.Time             `json:"at,omitzero"`
	Days int64                 `json:"days,omitempty"` // whole days since, as policies read it
	By   sallyport.PrincipalID `json:"by,omitempty"`   // who said so; the person itself after a drill
	Why  string                `json:"why,omitempty"`  // where it was held, or the drill
}

// Trained says that somebody was trained elsewhere, or takes it back.
type Trained struct {
	At       time.Time `json:"at,omitzero"` // when, in the last ten years
	Why      string    `json:"why"`         // where it was held, or why it is taken back
	Withdraw bool      `json:"withdraw,omitempty"`
}
