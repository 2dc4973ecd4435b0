package api

import (
	"time"

	"sallyport"
)

// A Drift is what is meant to be, and where what is differs from it.
type Drift struct {
	Declared *Intended   `json:"declared,omitempty"` // none: what the log has a record of is meant
	Hash     string      `json:"hash"`               // of the roles, groups and assignments that are meant
	Items    int         `json:"items"`              // that are compared
	Looked   time.Time   `json:"looked,omitzero"`    // when it was last compared
	Open     []DriftItem `json:"open"`
	More     int         `json:"more,omitempty"`    // differences beyond those of open
	Restart  []string    `json:"restart,omitempty"` // items of the configuration that are meant and wait for the server to start again
	Problem  string      `json:"problem,omitempty"` // why nothing is compared: what is meant cannot be believed, or what is there cannot be read; then nothing else is said
}

// Intended says who said what is meant to be.
type Intended struct {
	By      sallyport.PrincipalID `json:"by"`
	At      time.Time             `json:"at"`
	Source  string                `json:"source,omitempty"` // "sha256:…" of the file
	Hash    string                `json:"hash"`
	Request string                `json:"request,omitempty"` // by which others approved it
}

// A DriftItem is one thing that is not what it is meant to be.
type DriftItem struct {
	Item      string                `json:"item"`           // "role developer": its kind and its name
	Want      string                `json:"want,omitempty"` // JSON; "" is not meant to be there
	Is        string                `json:"is,omitempty"`   // JSON; "" is not there
	Direction string                `json:"direction"`      // "wider", "narrower" or "other"
	Since     time.Time             `json:"since,omitzero"`
	Who       sallyport.PrincipalID `json:"who,omitempty"`      // changed it
	Decision  string                `json:"decision,omitempty"` // that permitted it
	Recorded  bool                  `json:"recorded"`           // the log has a record of the change
}

// A DriftFix asks others to put something right.
type DriftFix struct {
	Way   string   `json:"way"` // "accept" or "restore"
	Items []string `json:"items"`
	Why   string   `json:"why"`
}

// A Declaration is what a file says is meant to be of the organisation. What it does not name stays as it is meant.
type Declaration struct {
	Source      string       `json:"source"` // "sha256:" and 64 hex digits of the file
	Roles       []Role       `json:"roles"`
	Groups      []Group      `json:"groups"`
	Assignments []Assignment `json:"assignments"`
}

// A DriftChange is what was asked, and whether it is done.
type DriftChange struct {
	Way     string      `json:"way"` // "accept", "restore" or "declare"
	Items   []DriftItem `json:"items"`
	Why     string      `json:"why,omitempty"`
	Done    bool        `json:"done"`
	Request *Request    `json:"request,omitempty"` // by which others say yes; none where nobody needs to
}
