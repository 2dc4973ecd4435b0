package api

import (
	"time"

	"sallyport"
)

// A StartDrill asks for an exercise on the volunteers.
type StartDrill struct {
	Kind string `json:"kind"` // "consent-phish", "mfa-fatigue" or "fake-approval"
	For  string `json:"for"`  // how long it waits for answers, 1h to 336h
}

// A Drill is an exercise with how it went, in numbers that name nobody.
type Drill struct {
	ID       string                `json:"id"`
	Kind     string                `json:"kind"`
	By       sallyport.PrincipalID `json:"by"`
	Begun    time.Time             `json:"begun"`
	Ends     time.Time             `json:"ends"`
	Over     bool                  `json:"over"`
	Sent     int                   `json:"sent"`
	Passed   int                   `json:"passed"`   // said no, or reported it
	Reported int                   `json:"reported"` // of those
	Fell     int                   `json:"fell"`     // said yes
	Waiting  int                   `json:"waiting"`  // no answer yet
	Ignored  int                   `json:"ignored"`  // no answer until the end
	Median   int64                 `json:"medianReportSeconds,omitempty"`
}

// MyDrills are what somebody knows of their own part.
type MyDrills struct {
	Volunteer time.Time `json:"volunteer,omitzero"` // since when they take part; the zero time: they do not
	Training  Training  `json:"training"`
	Drills    []MyDrill `json:"drills"`
}

// A MyDrill is a drill that is over for somebody.
type MyDrill struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Begun   time.Time `json:"begun"`
	Ended   string    `json:"ended"` // "fell", "denied", "reported" or "ignored"
	Page    string    `json:"page"`  // where the signs are
	Learned time.Time `json:"learned,omitzero"`
}

// Volunteering says whether somebody takes part in drills.
type Volunteering struct {
	Join bool `json:"join"`
}

// A Lure is the page of a drill, as the one sees it whom it was sent to: while it waits nothing tells that it is one.
type Lure struct {
	Title string     `json:"title"`
	Lead  string     `json:"lead"`
	Facts []LureFact `json:"facts"`
	Yes   string     `json:"yes"`
	No    string     `json:"no"`
	// Told is what it was, when it is over for them; nil before.
	Told *MyDrill `json:"told,omitempty"`
	// Signs are those by which it could be known, with Told.
	Signs []string `json:"signs,omitempty"`
}

// A LureFact is one line of a page.
type LureFact struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// A LureAnswer is what somebody does on the page: "yes" and "no", and "read" when it is over for them.
type LureAnswer struct {
	Answer string `json:"answer"`
}
