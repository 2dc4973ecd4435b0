package api

import (
	"time"

	"sallyport"
)

// An Onboard gives somebody the least for a job, with an end: one role on one
// project.
type Onboard struct {
	ID      sallyport.PrincipalID `json:"id"`
	Org     string                `json:"org,omitempty"`     // of somebody new; otherwise that of the project
	Display string                `json:"display,omitempty"` // of somebody new
	Role    string                `json:"role"`
	Project string                `json:"project"` // ORG/NAME
	Until   time.Time             `json:"until"`
	Sponsor sallyport.PrincipalID `json:"sponsor,omitempty"` // makes somebody new a guest, whom this person vouches for
}

// An Onboarded says what was given, and what to do first.
type Onboarded struct {
	Member     Member     `json:"member"`
	New        bool       `json:"new"`
	Assignment Assignment `json:"assignment"`
	Enrolment  *Enrolment `json:"enrolment,omitempty"` // of somebody who has no proof yet
	Commands   []string   `json:"commands"`            // what they can do first, as they would type it
}
