package api

import (
	"time"

	"sallyport"
)

// A Risk is how risky somebody's sessions look, and why.
type Risk struct {
	Who       sallyport.PrincipalID `json:"who"`
	SignIns   int                   `json:"signIns"`        // that are known
	Last      time.Time             `json:"last,omitzero"`  // sign-in
	From      string                `json:"from,omitempty"` // where it came from, as far as that is kept
	Threshold int                   `json:"threshold"`      // from which score on a stronger proof is asked for
	Sessions  []SessionRisk         `json:"sessions"`       // live ones
	Raised    []Raise               `json:"raised"`         // held against the person now
	Note      string                `json:"note"`           // what the score does not say
}

// A SessionRisk is the score of one session.
type SessionRisk struct {
	Session string   `json:"session"`
	Score   int      `json:"score"` // 0 to 100
	Factors []Factor `json:"factors"`
}

// A Factor is part of a score.
type Factor struct {
	Kind     string            `json:"kind"`
	Weight   int               `json:"weight"` // points
	Text     string            `json:"text"`
	Evidence map[string]string `json:"evidence,omitempty"`
}

// A Raise is held against a person, a session or a device, and fades.
type Raise struct {
	ID     string    `json:"id"`
	Target string    `json:"target"`
	Points int       `json:"points"` // when it began
	Left   int       `json:"left"`   // now
	Why    string    `json:"why"`
	Until  time.Time `json:"until"`
}

// A Finding is something unusual that was found in the log.
type Finding struct {
	ID       string                `json:"id"`
	Rule     string                `json:"rule"`
	Severity string                `json:"severity"`
	Who      sallyport.PrincipalID `json:"who,omitempty"`
	Subject  string                `json:"subject"`
	At       time.Time             `json:"at"`
	Text     string                `json:"text"`
	Evidence []uint64              `json:"evidence"` // numbers of entries of the log
	Detail   map[string]string     `json:"detail,omitempty"`
	State    string                `json:"state"` // "new", "answered", "closed"
	Did      []string              `json:"did"`
	Closed   time.Time             `json:"closed,omitzero"`
	Closer   sallyport.PrincipalID `json:"closer,omitempty"`
	Verdict  string                `json:"verdict,omitempty"`
	Why      string                `json:"why,omitempty"`
	Undone   []string              `json:"undone,omitempty"` // by closing it as benign
}

// A Verdict closes a finding.
type Verdict struct {
	Verdict string `json:"verdict"` // "confirmed" or "benign"
	Why     string `json:"why"`
}

// A Tripwire is a rule by which findings are made, with what is done about them.
type Tripwire struct {
	Name       string   `json:"name"`
	Severity   string   `json:"severity"`
	Text       string   `json:"text"`
	Certain    bool     `json:"certain"` // its evidence is not chance
	Techniques []string `json:"techniques"`
	Steps      []string `json:"steps"`
}

// A Notice is one thing that somebody was told of their account.
type Notice struct {
	ID   string    `json:"id"`
	Kind string    `json:"kind"`
	At   time.Time `json:"at"`
	Text string    `json:"text"`
	Seq  uint64    `json:"seq,omitempty"` // of the entry of the log
	Read time.Time `json:"read,omitzero"`
}

// A Report tells of a loss, a theft or phishing; it acts at once.
type Report struct {
	What  string `json:"what"`            // "lost-device", "wasnt-me", "phish"
	ID    string `json:"id,omitempty"`    // of the device, the session, the login, the decision or the notice; or the link that it led to
	About string `json:"about,omitempty"` // in the person's own words
}

// A Reported is what a report brought about.
type Reported struct {
	What    string   `json:"what"`
	Drill   string   `json:"drill,omitempty"` // what was reported was this drill: nothing is held against anybody
	Did     []string `json:"did"`
	Cut     []Cut    `json:"cut,omitempty"`
	InForce string   `json:"inForce"` // how long it took
}

// A BreakGlass is a right for an emergency.
type BreakGlass struct {
	Name    string                `json:"name"`
	Openers []string              `json:"openers"`
	Role    string                `json:"role"`
	Scope   string                `json:"scope"`
	For     string                `json:"for"`
	Why     string                `json:"why"`
	By      sallyport.PrincipalID `json:"by,omitempty"`
	At      time.Time             `json:"at,omitzero"`
	Sealed  time.Time             `json:"sealed,omitzero"` // when two others had approved it
	Request string                `json:"request,omitempty"`
	Hash    string                `json:"hash,omitempty"` // of the open request: what a vote is for
	Subject string                `json:"subject,omitempty"`
}

// An Opening is one use of a right for an emergency.
type Opening struct {
	ID        string                  `json:"id"`
	Name      string                  `json:"name"`
	Who       sallyport.PrincipalID   `json:"who"`
	Why       string                  `json:"why"`
	Asked     time.Time               `json:"asked"`
	State     string                  `json:"state"` // "asked", "open", "over", "refused", "reviewed"
	From      time.Time               `json:"from,omitzero"`
	Until     time.Time               `json:"until,omitzero"`
	Approvers []sallyport.PrincipalID `json:"approvers,omitempty"`
	Reviewer  sallyport.PrincipalID   `json:"reviewer,omitempty"`
	Review    string                  `json:"review,omitempty"`
	Overdue   bool                    `json:"overdue,omitempty"` // it should have been reviewed by now
	Scope     string                  `json:"scope,omitempty"`
	Request   string                  `json:"request,omitempty"`
	Hash      string                  `json:"hash,omitempty"`
	Subject   string                  `json:"subject,omitempty"`
}

// Emergencies is every right for an emergency and the newest openings that the caller may know of.
type Emergencies struct {
	Rights   []BreakGlass `json:"rights"`
	Openings []Opening    `json:"openings"`
}
