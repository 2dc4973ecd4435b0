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
