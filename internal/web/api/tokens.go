package api

import (
	"time"

	"sallyport"
)

// A TokenAlive is a login whose newest access token may still be alive.
type TokenAlive struct {
	Login     string                `json:"login"` // id of the token family
	Who       sallyport.PrincipalID `json:"who"`
	Client    string                `json:"client"`
	Scope     string                `json:"scope"`
	Assurance string                `json:"assurance"`
	Bound     bool                  `json:"bound"`     // to a key
	Issued    time.Time             `json:"issued"`    // the newest access token
	Ends      time.Time             `json:"ends"`      // that token, at the latest
	LoginEnds time.Time             `json:"loginEnds"` // no token of the login goes past it
}
