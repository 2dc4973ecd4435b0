package api

import (
	"time"

	"sallyport"
)

// A Leave is an order to end an account.
type Leave struct {
	Why    string `json:"why"`              // one line, at most 300 bytes
	Remove bool   `json:"remove,omitempty"` // for good; otherwise it stays suspended
}

// Left says what the end of an account ended.
type Left struct {
	Who        sallyport.PrincipalID `json:"who"`
	State      string                `json:"state"`
	Accounts   int                   `json:"accounts"` // it and the person's second accounts
	Sessions   int                   `json:"sessions"`
	Families   int                   `json:"families"` // logins of programs, and what acts on its behalf
	Grants     int                   `json:"grants"`
	Requests   int                   `json:"requests"`
	Votes      int                   `json:"votes"`
	Devices    int                   `json:"devices"`
	Groups     int                   `json:"groups"`
	Roles      int                   `json:"roles"`
	Guests     int                   `json:"guests"`
	Successors int                   `json:"successors"` // what waits for a successor
	Cut        int                   `json:"cut"`        // running calls
	InEffect   string                `json:"inEffect"`   // duration, from the order to when it was in force
}

// A Successor is something that waits for somebody to answer for it, or with To
// the order that somebody does.
type Successor struct {
	Thing   string                `json:"thing"` // "service:trainer", "acme/fraud", "dataset:acme/claims"
	Org     string                `json:"org,omitempty"`
	From    sallyport.PrincipalID `json:"from,omitempty"`
	To      sallyport.PrincipalID `json:"to,omitempty"`
	Since   time.Time             `json:"since,omitzero"`
	Due     time.Time             `json:"due,omitzero"` // when a service stops
	Stopped bool                  `json:"stopped,omitempty"`
}
