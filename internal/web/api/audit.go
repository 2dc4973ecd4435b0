package api

import (
	"time"

	"sallyport"
)

// An Audit says what one member used of what it may do.
type Audit struct {
	Who      sallyport.PrincipalID `json:"who"`
	Since    time.Time             `json:"since"`
	Complete bool                  `json:"complete"` // every decision since then was looked at
	Used     []Used                `json:"used"`
	Unused   []Unused              `json:"unused"`
	Advice   []Advice              `json:"advice"`
	Policy   string                `json:"policy"` // the least that would have been enough, as Cedar
}

// A Used is an action that was permitted and done on a resource.
type Used struct {
	Action   sallyport.Action `json:"action"`
	Resource string           `json:"resource"`
	Times    int              `json:"times"`
	Last     time.Time        `json:"last"`
}

// An Unused is an action that today's policy allows on a resource and that was not done.
type Unused struct {
	Action   sallyport.Action `json:"action"`
	Resource string           `json:"resource"`
}

// Advice is what to do about one assignment of a role: keep it, take it away, or narrow it.
type Advice struct {
	Assignment Assignment `json:"assignment"`
	Unused     bool       `json:"unused"`             // nothing in its scope was used
	Narrower   []string   `json:"narrower,omitempty"` // scopes that would have been enough
}

// A Life is what somebody was at an instant, rebuilt from the log.
type Life struct {
	Who     sallyport.PrincipalID `json:"who"`
	At      time.Time             `json:"at"`
	Known   time.Time             `json:"known,omitzero"` // of the first event about them
	State   string                `json:"state"`
	Owner   sallyport.PrincipalID `json:"owner,omitempty"`
	Groups  []string              `json:"groups"`
	Roles   []Assignment          `json:"roles"`
	Grants  []LifeGrant           `json:"grants"`
	Devices []string              `json:"devices"`
	Steps   []LifeStep            `json:"steps"`
}

// A LifeGrant is a right for a time that held.
type LifeGrant struct {
	ID       string    `json:"id"`
	Actions  string    `json:"actions"`
	Resource string    `json:"resource"`
	Until    time.Time `json:"until"`
}

// A LifeStep is one event that changed somebody.
type LifeStep struct {
	Seq  uint64                `json:"seq"`
	At   time.Time             `json:"at"`
	By   sallyport.PrincipalID `json:"by,omitempty"`
	What string                `json:"what"`
}
