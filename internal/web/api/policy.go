package api

import (
	"time"

	"sallyport"
)

// A Proposal is a policy set that somebody wants in force.
type Proposal struct {
	Request    string                `json:"request,omitempty"`
	Version    string                `json:"version,omitempty"`
	Base       string                `json:"base,omitempty"` // in force when it was proposed
	Schema     string                `json:"schema,omitempty"`
	Policies   map[string]string     `json:"policies,omitempty"`
	By         sallyport.PrincipalID `json:"by,omitempty"`
	Why        string                `json:"why"`
	Commit     string                `json:"commit,omitempty"`
	Repository string                `json:"repository,omitempty"`
	At         time.Time             `json:"at,omitzero"`
	Hash       string                `json:"hash,omitempty"` // what a vote is for
	Subject    string                `json:"subject,omitempty"`
	Added      []string              `json:"added,omitempty"` // ids of policies
	Removed    []string              `json:"removed,omitempty"`
	Changed    []string              `json:"changed,omitempty"`
	Need       int                   `json:"need,omitempty"`
	Approvers  string                `json:"approvers,omitempty"`
	State      string                `json:"state,omitempty"`
	Sign       bool                  `json:"sign,omitempty"`     // a yes must be signed
	Authored   bool                  `json:"authored,omitempty"` // whoever answers for it has signed it
	Expires    time.Time             `json:"expires,omitzero"`
	Votes      []Vote                `json:"votes,omitempty"`
	// Rows are the rows of the access matrix that it would change, of the people and resources of today.
	Rows []MatrixChange `json:"rows,omitempty"`
	More int            `json:"more,omitempty"` // rows that are not listed
}

// A MatrixChange is one cell of the access matrix that differs.
type MatrixChange struct {
	Who      sallyport.PrincipalID `json:"who"`
	Resource string                `json:"resource"`
	Action   sallyport.Action      `json:"action"`
	From     string                `json:"from"`
	To       string                `json:"to"`
	Wider    bool                  `json:"wider"` // nearer to allowed than before
}

// An Activation puts an approved proposal in force, or undoes the last change.
type Activation struct {
	Request string `json:"request,omitempty"` // of a proposal
	Version string `json:"version,omitempty"` // of a set to go back to; "" = the one before
	Why     string `json:"why,omitempty"`     // of going back
}

// An Epoch is one time that a set was put in force.
type Epoch struct {
	Number  int64                 `json:"number"`
	Version string                `json:"version"`
	Before  string                `json:"before,omitempty"`
	Kind    string                `json:"kind"`
	Request string                `json:"request,omitempty"`
	By      sallyport.PrincipalID `json:"by,omitempty"`
	Why     string                `json:"why"`
	At      time.Time             `json:"at"`
}

// A PolicyNode is an enforcement point with what it has in force.
type PolicyNode struct {
	Node    string    `json:"node"`
	Epoch   int64     `json:"epoch"`
	Version string    `json:"version"`
	At      time.Time `json:"at"`     // when it said so last
	Silent  bool      `json:"silent"` // it was not heard of for a while
}

// A SignedMatrix is the access matrix as a text, below a signed note (C2SP signed-note) by the log's key that names its hash.
type SignedMatrix struct {
	Text string `json:"text"`
}

// A PolicyStatus says where a change of policy stands.
type PolicyStatus struct {
	Epoch   Epoch        `json:"epoch"` // the newest
	Settled bool         `json:"settled"`
	Nodes   []PolicyNode `json:"nodes"`
	Epochs  []Epoch      `json:"epochs"` // the newest first
	Open    []Proposal   `json:"open"`   // proposals that wait for votes, or to be activated
}

// Paths are all chains that lead to a right in the living directory.
type Paths struct {
	Right  string    `json:"right"`  // ACTION@RESOURCE, with the version that the name resolves to
	Policy string    `json:"policy"` // version of the set in force
	At     time.Time `json:"at"`
	Chains []Chain   `json:"chains"`
}

// A Chain is one way to a right.
type Chain struct {
	Chain string                  `json:"chain"`
	Who   []sallyport.PrincipalID `json:"who"` // who has the right by it now; nobody where somebody must first do something
}
