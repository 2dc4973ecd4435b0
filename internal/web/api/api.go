// Package api owns the words of the management API: the JSON that goes over the
// wire between web/admin and the client. It leaves what they mean to the rooms,
// and does nothing itself.
//
// Every answer is one of these values or an Error; times are RFC 3339 in UTC.
package api

import (
	"encoding/json"
	"time"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// Version is the prefix of every path of the API.
const Version = "/api/v1"

// An Error is what a refused or failed request is answered with.
type Error struct {
	Status    int                  `json:"status"`
	Message   string               `json:"message"`            // one sentence, with the next step
	Kind      string               `json:"kind"`               // of sallyport.Kind, or the outcome of a decision
	Decision  string               `json:"decision,omitempty"` // id, when there was one
	Outcome   string               `json:"outcome,omitempty"`
	Reasons   []sallyport.Reason   `json:"reasons,omitempty"`
	Remedies  []sallyport.Remedy   `json:"remedies,omitempty"`
	Otherwise [][]sallyport.Remedy `json:"otherwise,omitempty"` // other ways out, each by itself
	Needs     string               `json:"needs,omitempty"`     // assurance, with step-up
	Page      string               `json:"page,omitempty"`      // where to ask for it in a browser
}

// Who says who the caller is and what they can do. It is made from live policy.
type Who struct {
	ID        sallyport.PrincipalID `json:"id"`
	Person    sallyport.PrincipalID `json:"person"`
	Display   string                `json:"display"`
	Groups    []string              `json:"groups"`
	Roles     []Assignment          `json:"roles"`
	Assurance string                `json:"assurance"`
	Methods   []string              `json:"methods"`
	Session   string                `json:"session,omitempty"`
	Expires   time.Time             `json:"expires"`
	Scope     string                `json:"scope"`
	Client    string                `json:"client,omitempty"`
	// Actors are who acts for them in this call, the present one first.
	Actors []sallyport.PrincipalID `json:"actors,omitempty"`
	Bound  bool                    `json:"bound"`            // the token is of no use without a key that the call has proved
	Device string                  `json:"device,omitempty"` // id of the enrolled device that the call came from
	Rights []Rights                `json:"rights"`
	// Probation is until when tighter limits follow a hold that was lifted, and Limits are those.
	Probation time.Time              `json:"probation,omitzero"`
	Limits    []sallyport.Obligation `json:"limits,omitempty"`
}

// MostAsks is how many questions one batch may have.
const MostAsks = 64

// A CanAsk is one question of a batch: may I do this to that?
type CanAsk struct {
	Action   sallyport.Action `json:"action"`
	Resource string           `json:"resource"`
}

// Rights is what the caller can do on one resource, in four lists of actions.
type Rights struct {
	Resource string             `json:"resource"`
	Class    sallyport.Class    `json:"class"`
	Can      []sallyport.Action `json:"can"`
	StepUp   []sallyport.Action `json:"afterStepUp"`
	Device   []sallyport.Action `json:"fromDevice,omitempty"` // from an enrolled device, or with a token bound to its key
	Request  []sallyport.Action `json:"mayRequest"`
	Cannot   []sallyport.Action `json:"cannot"`
}

// An Answer is the result of asking whether somebody may do something, without
// doing it.
type Answer struct {
	Who       sallyport.PrincipalID `json:"who"`
	Action    sallyport.Action      `json:"action"`
	Resource  string                `json:"resource"`
	Outcome   string                `json:"outcome"`
	Cell      string                `json:"cell"` // the least that would be needed: "allow", "step-up", "device", "request", "hold", or "deny": nothing helps
	Reasons   []sallyport.Reason    `json:"reasons"`
	Remedies  []sallyport.Remedy    `json:"remedies,omitempty"`
	Otherwise [][]sallyport.Remedy  `json:"otherwise,omitempty"` // other ways out, each by itself
	Needs     string                `json:"needs,omitempty"`
	Policy    string                `json:"policy"`
}

// A Matrix says who may do what, computed from the live policy.
type Matrix struct {
	Policy  string             `json:"policy"`
	At      time.Time          `json:"at"`
	Actions []sallyport.Action `json:"actions"`
	Rows    []MatrixRow        `json:"rows"`
}

// A MatrixRow is one principal on one resource; Cells follow Matrix.Actions and
// hold "allow", "step-up", "hold", "request" (a grant would do) or "deny".
type MatrixRow struct {
	Who      sallyport.PrincipalID `json:"who"`
	Resource string                `json:"resource"`
	Cells    []string              `json:"cells"`
}

// A Session is one signed-in session or token family of the caller.
type Session struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"` // "browser" or the client's name
	Created   time.Time `json:"created"`
	LastSeen  time.Time `json:"lastSeen"`
	Expires   time.Time `json:"expires"`
	Assurance string    `json:"assurance"`
	IP        string    `json:"ip"`
	Agent     string    `json:"agent"`
	Current   bool      `json:"current"`
}

// An Ask asks for a grant.
type Ask struct {
	Action   sallyport.Action `json:"action"`
	Resource string           `json:"resource"`
	For      string           `json:"for"` // duration, "1h"
	Why      string           `json:"why"`
	Task     string           `json:"task,omitempty"`  // what it ends with: "lease", "lease:JOB", "mlflow:CONNECTOR/RUN", …
	Scope    []string         `json:"scope,omitempty"` // what it is narrowed to: "files=*.json", "range=0-1023", "max-tokens=256"
}

// A Request is a question that waits for people.
type Request struct {
	ID       string                `json:"id"`
	Who      sallyport.PrincipalID `json:"who"`
	Action   sallyport.Action      `json:"action"`
	Resource string                `json:"resource"`
	For      string                `json:"for"`
	Why      string                `json:"why"`
	Hash     string                `json:"hash"` // of exactly what is asked; a vote names it
	Need     int                   `json:"need"`
	State    string                `json:"state"`
	Created  time.Time             `json:"created"`
	Expires  time.Time             `json:"expires"`
	Votes    []Vote                `json:"votes"`
	Grant    *Grant                `json:"grant,omitempty"` // once approved

	Topic     string             `json:"topic"`    // "grant", "approver", …
	Subject   string             `json:"subject"`  // one line, as it is signed
	Sentence  string             `json:"sentence"` // the same in plain words
	Groups    []sallyport.Quorum `json:"groups,omitempty"`
	Approvers string             `json:"approvers"`        // who may vote, for people
	Policy    string             `json:"policy,omitempty"` // version of the set in force when it was asked
	Digest    string             `json:"digest,omitempty"`
	Purpose   string             `json:"purpose,omitempty"`
	Task      string             `json:"task,omitempty"`
	Sign      bool               `json:"sign"`               // a yes must be signed
	Page      string             `json:"page"`               // where it can be signed
	VotePath  string             `json:"votePath,omitempty"` // where a vote on it is posted, below Version
	Scope     []string           `json:"scope,omitempty"`    // obligations that narrow it
}

// A Vote is one person's answer to a request.
type Vote struct {
	By     sallyport.PrincipalID `json:"by,omitempty"`
	Yes    bool                  `json:"yes"`
	Reason string                `json:"reason"`
	Hash   string                `json:"hash"`
	At     time.Time             `json:"at,omitzero"`

	Groups    []string   `json:"groups,omitempty"`
	Signature *Signature `json:"signature,omitempty"`
}

// A Grant is a right for a time.
type Grant struct {
	ID       string                `json:"id"`
	Who      sallyport.PrincipalID `json:"who"`
	Actions  []sallyport.Action    `json:"actions"`
	Resource string                `json:"resource"`
	From     time.Time             `json:"from"`
	Until    time.Time             `json:"until"`
	Why      string                `json:"why"`
	By       sallyport.PrincipalID `json:"approvedBy,omitempty"`
	Active   bool                  `json:"active"`
	Ended    bool                  `json:"ended,omitempty"` // for good: one that is neither begins when its lease is renewed
	Task     string                `json:"task,omitempty"`
	Scope    []string              `json:"scope,omitempty"` // obligations that narrow it
}

// A Lock places a hold; an Unlock lifts it.
type Lock struct {
	Target string `json:"target"` // "user:ana", "session:S-…", "family:…", "model:acme/fraud"
	Why    string `json:"why"`
	// Probation is how long one follows a lifted hold ("24h"), "" for as long as usual; Without is why none does.
	Probation string `json:"probation,omitempty"`
	Without   string `json:"without,omitempty"`
}

// A Hold is a restriction, with what its placing cut.
type Hold struct {
	ID      string                `json:"id"`
	Target  string                `json:"target"`
	Why     string                `json:"why"`
	By      sallyport.PrincipalID `json:"by"`
	At      time.Time             `json:"at"`
	Active  bool                  `json:"active"`
	Cut     []Cut                 `json:"cut,omitempty"`
	InForce string                `json:"inForce,omitempty"` // how long the order took, "3ms"
	Request *Request              `json:"request,omitempty"` // of a lifting that others must approve first
	// Probation is the end of what follows a lifted hold; OnProbation tells whether it lasts, ProbationWhy why there is none
	// or why it ended early.
	Probation    time.Time `json:"probation,omitzero"`
	OnProbation  bool      `json:"onProbation,omitempty"`
	ProbationWhy string    `json:"probationWhy,omitempty"`
}

// A Cut is one running call that was ended.
type Cut struct {
	Decision string                `json:"decision"`
	Who      sallyport.PrincipalID `json:"who"`
	Action   sallyport.Action      `json:"action"`
	On       string                `json:"on"`
	Bytes    int64                 `json:"bytes"`
	AfterCut int64                 `json:"afterCut"` // bytes that left after the order
	Ended    bool                  `json:"ended"`
}

// An Entry is one leaf of the log.
type Entry struct {
	Seq  uint64          `json:"seq"`
	Leaf json.RawMessage `json:"leaf"`
}

// A Why is everything the log holds about one decision.
type Why struct {
	ID        string               `json:"id"`
	Decided   Entry                `json:"decided"`
	Facts     *Entry               `json:"facts,omitempty"`
	Acting    []Entry              `json:"acting,omitempty"` // the facts about those who acted on behalf of the principal
	Cut       *Entry               `json:"cut,omitempty"`
	Completed *Entry               `json:"completed,omitempty"`
	Policies  []PolicyText         `json:"policies"` // those that determined it
	Remedies  []sallyport.Remedy   `json:"remedies,omitempty"`
	Otherwise [][]sallyport.Remedy `json:"otherwise,omitempty"` // other ways out, each by itself
	Explained *policy.Explanation  `json:"explained,omitempty"` // clause by clause, as far as the reader is told
	Replay    *Replay              `json:"replay,omitempty"`
}

// A PolicyText is one policy as it stood when it decided.
type PolicyText struct {
	ID    string `json:"id"`
	Owner string `json:"owner"`
	Text  string `json:"text"` // what it says, for people
	Code  string `json:"code"`
}

// A Replay is a decision made again from the log alone.
type Replay struct {
	Same     bool     `json:"same"`
	Recorded string   `json:"recorded"`
	Again    string   `json:"again"`
	Reasons  []string `json:"reasons"`
}

// A Found is one line of a search.
type Found struct {
	Seq      uint64                `json:"seq"`
	At       time.Time             `json:"at"`
	Type     sallyport.EventType   `json:"type"`
	Who      sallyport.PrincipalID `json:"who"`
	Action   sallyport.Action      `json:"action"`
	On       string                `json:"on"`
	Outcome  string                `json:"outcome"`
	Decision string                `json:"decision"`
	Reason   string                `json:"reason"`
}

// Head is the state of the log.
type Head struct {
	Origin     string `json:"origin"`
	Key        string `json:"key"` // verifier key, signed-note form
	Size       uint64 `json:"size"`
	Checkpoint string `json:"checkpoint"`
}

// An Assignment is a role that somebody holds on something.
type Assignment struct {
	ID      string    `json:"id,omitempty"`
	Subject string    `json:"subject"` // "user:ana", "service:x" or "group:acme/risk"
	Role    string    `json:"role"`
	Scope   string    `json:"scope"`
	Until   time.Time `json:"until,omitzero"`
}

// An Enrolment is the one-time link by which a person sets up their proof.
type Enrolment struct {
	Who     sallyport.PrincipalID `json:"who"`
	Link    string                `json:"link"`
	Expires time.Time             `json:"expires"`
}

// A PolicySet is a set of policies as text.
type PolicySet struct {
	Version  string                `json:"version"`
	Schema   string                `json:"schema,omitempty"` // "" = the program's own
	Policies map[string]string     `json:"policies,omitempty"`
	By       sallyport.PrincipalID `json:"by,omitempty"`
	Why      string                `json:"why,omitempty"`
	At       time.Time             `json:"at,omitzero"`
	Warnings []string              `json:"warnings,omitempty"`
}

// A Member is a person or a service of the directory.
type Member struct {
	ID      sallyport.PrincipalID `json:"id"`
	Person  sallyport.PrincipalID `json:"person,omitempty"` // who answers for it, when that is somebody else
	Org     string                `json:"org,omitempty"`
	Display string                `json:"display,omitempty"`
	State   string                `json:"state,omitempty"` // "active", "suspended", "removed"
	Groups  []string              `json:"groups,omitempty"`

	Purpose string                `json:"purpose,omitempty"` // of a service or an agent
	Ends    time.Time             `json:"ends,omitzero"`     // services, agents and guests have an end
	Guest   bool                  `json:"guest,omitempty"`
	Sponsor sallyport.PrincipalID `json:"sponsor,omitempty"` // who vouches for a guest
	Source  string                `json:"source,omitempty"`  // the provider that keeps the record, "" for those kept here
	// Environment is where a service or an agent runs.
	Environment sallyport.Environment `json:"environment,omitempty"`
}

// A Group is a group of members; or, with a member, its joining or leaving.
type Group struct {
	Name    string   `json:"name"`
	Parents []string `json:"parents,omitempty"`
	Guests  bool     `json:"guests,omitempty"` // takes guests
	Remove  bool     `json:"remove,omitempty"`
}

// A Role is a name that policies speak about.
type Role struct {
	Name        string   `json:"name"`
	Inherits    []string `json:"inherits,omitempty"`
	Description string   `json:"description,omitempty"`
	Privileged  bool     `json:"privileged,omitempty"`
}

// Roles is every role and who holds it on what.
type Roles struct {
	Roles       []Role       `json:"roles"`
	Assignments []Assignment `json:"assignments"`
}

// A Thing is an organisation, project, model, dataset or endpoint to be added or
// shown: exactly the fields that its kind has.
type Thing struct {
	Resource    string                  `json:"resource"` // "org:acme", "project:acme/risk", "acme/fraud", "dataset:…", "endpoint:…"
	Project     string                  `json:"project,omitempty"`
	Class       sallyport.Class         `json:"class,omitempty"`
	Environment sallyport.Environment   `json:"environment,omitempty"`
	Owners      []sallyport.PrincipalID `json:"owners,omitempty"`
	Model       string                  `json:"model,omitempty"` // that an endpoint serves
	Version     string                  `json:"version,omitempty"`
	Digest      string                  `json:"digest,omitempty"`
	Aliases     map[string]string       `json:"aliases,omitempty"`
	Why         string                  `json:"why,omitempty"` // of a change of label
	Purposes    []string                `json:"purposes,omitempty"`
	// Request is the request for approval that a lower class waits for.
	Request string `json:"request,omitempty"`
}

// A Rotation is a new key-encryption key, and how many data keys it wraps now.
type Rotation struct {
	Key       string `json:"key"`
	Rewrapped int    `json:"rewrapped"`
}
