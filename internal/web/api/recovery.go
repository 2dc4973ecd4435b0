package api

import (
	"time"

	"sallyport"
)

// A Recovery is a request to get somebody back in who lost their last authenticator.
type Recovery struct {
	ID       string                  `json:"id,omitempty"`
	Who      sallyport.PrincipalID   `json:"who"`
	By       sallyport.PrincipalID   `json:"by,omitempty"` // who asks
	Why      string                  `json:"why,omitempty"`
	State    string                  `json:"state,omitempty"` // asked, approved, done, cancelled
	Asked    time.Time               `json:"asked,omitzero"`
	Ready    time.Time               `json:"ready,omitzero"` // when the link can be made
	Ends     time.Time               `json:"ends,omitzero"`
	Approved []sallyport.PrincipalID `json:"approved,omitempty"`
}
