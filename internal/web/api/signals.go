package api

import (
	"time"

	"sallyport"
)

// A SignalStream is what one partner hears of our people.
type SignalStream struct {
	ID      string                `json:"id"`
	Owner   sallyport.PrincipalID `json:"owner"`
	Org     string                `json:"org"`
	Method  string                `json:"method"` // urn:ietf:rfc:8935 (push) or urn:ietf:rfc:8936 (poll)
	URL     string                `json:"url,omitempty"`
	Events  []string              `json:"events"`
	Status  string                `json:"status"` // "enabled", "paused", "disabled"
	Reason  string                `json:"reason,omitempty"`
	Waiting int                   `json:"waiting"` // tokens
	Created time.Time             `json:"created"`
}

// A SignalPartner is a transmitter whose events are taken.
type SignalPartner struct {
	Name   string            `json:"name"`
	Issuer string            `json:"issuer"`
	Push   string            `json:"push"` // where it pushes to
	Poll   string            `json:"poll,omitempty"`
	Policy map[string]string `json:"policy"` // what is done about each event
}
