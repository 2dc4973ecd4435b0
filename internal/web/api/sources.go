package api

import (
	"time"

	"sallyport"
)

// A Source is an upstream provider that keeps people and groups here by SCIM.
type Source struct {
	Name         string                `json:"name"`
	Organisation string                `json:"organisation"`
	Principal    sallyport.PrincipalID `json:"principal"` // its account
	Domains      []string              `json:"domains,omitempty"`
	URL          string                `json:"url"` // what the provider is told
	Users        int                   `json:"users"`
	Groups       int                   `json:"groups"`
}

// A SourceToken is an access token of a source's account.
type SourceToken struct {
	Source  string    `json:"source"`
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}
