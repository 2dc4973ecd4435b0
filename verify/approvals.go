package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval/signed"
)

// MaxProblems is how many problems with approvals are kept; more are only counted.
const MaxProblems = 100

// Approvals verifies, from the events of a log alone, every approval that it records: the chain of approvers' keys, each
// signed vote, that each request that was approved had as many good votes of the right people as it asked for, and that
// each policy set in force was approved in that way, signed by its author, and in the place of the one before. Its
// Each is for Options.Each. The zero value trusts the first key that the log records. It is for one goroutine.
type Approvals struct {
	// Pins are the first approvers' keys, known from elsewhere, as ParseApprovers reads them. With them the log cannot
	// bring a first key of its own.
	Pins []signed.Key
	// Signed makes an approval by session a problem also where the log knows no approver's key yet.
	Signed bool

	entries   []signed.Entry
	keys      signed.Keys
	walked    bool
	votes     map[string][]signed.Vote // by request
	questions map[string]string        // request: hash
	approved  map[string]granted       // "G-…": by a good approval
	bases     map[string]basis         // content hash of facts: whose they are, and the grants in them
	policies  policies
	report    ApprovalReport
}

// ApprovalReport says what Approvals found.
type ApprovalReport struct {
	Keys     int               `json:"keys"`      // approvers' keys that ever counted
	Signed   int               `json:"signed"`    // votes whose signatures verify
	Session  int               `json:"bySession"` // votes that nobody signed, from before there were keys
	Approved int               `json:"approved"`  // requests that were approved, and rightly
	Used     int               `json:"used"`      // permitted calls that had a grant
	Authors  int               `json:"authors"`   // proposals of policy that their authors signed
	Policies int               `json:"policies"`  // policy sets that were put in force, and rightly
	Problems []ApprovalProblem `json:"problems"`
	More     int               `json:"moreProblems"` // that are not listed
}

// ApprovalProblem is one approval that is not what it claims to be.
type ApprovalProblem struct {
	Index   uint64 `json:"index"` // of the entry
	About   string `json:"about"` // "R-…", "G-…", "AK-…", "epoch N" or "policy"
	Problem string `json:"problem"`
}

// ParseApprovers reads the keys of the first approvers: the list that 'sallyport approvers keys' prints.
func ParseApprovers(raw []byte) ([]signed.Key, error) { return signed.ParseKeys(raw) }

// Each looks at one entry. It returns an error only where the entry cannot be read at all; what is wrong with an approval
// is in the report.
func (a *Approvals) Each(index uint64, leaf []byte) error {
	if !a.walked {
		keys, _, err := signed.Walk(a.Pins, nil)
		if err != nil {
			return fmt.Errorf("verify approvals: %w", err)
		}
		a.keys, a.walked = keys, true
		a.votes, a.questions, a.approved, a.bases = map[string][]signed.Vote{}, map[string]string{}, map[string]granted{}, map[string]basis{}
		a.policies = newPolicies()
		a.report.Keys = len(keys)
	}
	var e sallyport.Event
	if err := json.Unmarshal(leaf, &e); err != nil {
		return fmt.Errorf("verify approvals: entry %d: %w", index, err)
	}
	switch e.Type {
	case sallyport.EventApprover:
		a.entry(index, e)
	case sallyport.EventGrantRequested, sallyport.EventPolicyProposed:
		a.requested(index, e)
	case sallyport.EventGrantVoted, sallyport.EventPolicyVoted:
		a.voted(index, e)
	case sallyport.EventPolicySigned:
		a.signedBy(index, e)
	case sallyport.EventPolicyActivated:
		a.activated(index, e)
	case sallyport.EventFacts:
		a.facts(index, e)
	case sallyport.EventDecided:
		a.decided(index, e)
	}
	return nil
}

// Report is what was found so far; it is whole when the log was read to its end.
func (a *Approvals) Report() ApprovalReport { return a.report }

func (a *Approvals) bad(index uint64, about, problem string) {
	if len(a.report.Problems) >= MaxProblems {
		a.report.More++
		return
	}
	a.report.Problems = append(a.report.Problems, ApprovalProblem{index, about, problem})
}

// entry adds a link of the chain, where it is one.
func (a *Approvals) entry(index uint64, e sallyport.Event) {
	var link signed.Entry
	if err := json.Unmarshal([]byte(e.Detail["entry"]), &link); err != nil {
		a.bad(index, e.Detail["key"], "the entry of the chain cannot be read")
		return
	}
	for _, have := range a.entries {
		if have.Hash() == link.Hash() {
			return // recorded twice, around a crash
		}
	}
	have := a.entries
	if n := len(have); n > 0 && have[n-1].Prev == link.Prev && sameChange(have[n-1], link) {
		have = have[:n-1] // it was recorded, could not be kept, and was asked for again
	}
	next := append(have[:len(have):len(have)], link)
	keys, _, err := signed.Walk(a.Pins, next)
	if err != nil {
		a.bad(index, link.Key.ID(), err.Error())
		return
	}
	a.entries, a.keys, a.report.Keys = next, keys, len(keys)
}

// sameChange reports whether two links say the same of the same key.
func sameChange(a, b signed.Entry) bool {
	x, errX := a.Canonical()
	y, errY := b.Canonical()
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func (a *Approvals) requested(index uint64, e sallyport.Event) {
	q, ok := question(e)
	if !ok {
		return // of before questions were recorded as a whole
	}
	if q.Hash() != e.Detail["hash"] || q.ID != e.Detail["request"] {
		a.bad(index, e.Detail["request"], "what is recorded as asked is not what its hash says")
		return
	}
	a.questions[q.ID] = q.Hash()
}

func question(e sallyport.Event) (q signed.Question, ok bool) {
	err := json.Unmarshal([]byte(e.Detail["question"]), &q)
	return q, err == nil && e.Detail["question"] != ""
}

// onQuestion reads a vote with the question that it is on, which is the one that was asked.
func (a *Approvals) onQuestion(index uint64, e sallyport.Event) (q signed.Question, v signed.Vote, ok bool) {
	id := e.Detail["request"]
	q, ok = question(e)
	if !ok || json.Unmarshal([]byte(e.Detail["vote"]), &v) != nil {
		a.bad(index, id, "the vote cannot be read")
		return q, v, false
	}
	if q.ID != id || q.Hash() != e.Detail["hash"] || a.questions[id] != "" && a.questions[id] != q.Hash() {
		a.bad(index, id, "the vote is on another question than the one that was asked")
		return q, v, false
	}
	a.questions[id] = q.Hash()
	return q, v, true
}

// voted counts a vote, and holds the request to its votes when it was approved.
func (a *Approvals) voted(index uint64, e sallyport.Event) {
	if _, whole := question(e); !whole {
		if e.Detail["state"] != "withdrawn" {
			a.unsigned(index, e)
		}
		return
	}
	q, v, ok := a.onQuestion(index, e)
	if !ok {
		return
	}
	id := q.ID
	if v.Signature != nil {
		if err := signed.VerifyVote(q, v, a.keys); err != nil {
			a.bad(index, id, err.Error())
			return
		}
		a.report.Signed++
	} else {
		a.report.Session++
	}
	// Who voted and was told that it could not be kept votes again: then both were recorded, and the later one counts.
	a.votes[id] = append(slices.DeleteFunc(a.votes[id], func(o signed.Vote) bool { return o.Person == v.Person && o.Voter == v.Voter }), v)
	if e.Detail["state"] != "approved" {
		return
	}
	check := signed.Count
	if a.mustSign() {
		check = func(q signed.Question, votes []signed.Vote) error { return signed.Verify(q, votes, a.keys) }
	}
	if err := check(q, a.votes[id]); err != nil {
		a.bad(index, id, err.Error())
		return
	}
	a.report.Approved++
	if q.Topic == topicPolicy {
		p, err := a.policies.of(q)
		if err != nil {
			a.bad(index, id, err.Error())
			return
		}
		p.approved = true
	}
	a.approve(index, e, q, signed.Decided(a.votes[id]))
}

// approve remembers the grant of a good approval, and holds what was given to what was asked.
func (a *Approvals) approve(index uint64, e sallyport.Event, q signed.Question, at time.Time) {
	id := e.Detail["grant"]
	if id == "" {
		return
	}
	var asks struct {
		Seconds int64 `json:"seconds"`
		granted
	}
	until, err := time.Parse(time.RFC3339, e.Detail["until"])
	if err != nil || json.Unmarshal(q.Canonical, &asks) != nil || until.After(at.Add(time.Duration(asks.Seconds)*time.Second)) {
		a.bad(index, id, "the grant is longer than what was approved")
		return
	}
	if id != "G-"+strings.TrimPrefix(q.ID, "R-") {
		a.bad(index, id, "it is not the grant of "+q.ID)
		return
	}
	asks.granted.from, asks.granted.until = at, at.Add(time.Duration(asks.Seconds)*time.Second)
	a.approved[id] = asks.granted
}

// A granted is what was approved, in the members of the canonical text of a request for a grant.
type granted struct {
	Principal   sallyport.PrincipalID `json:"principal"`
	Actions     []sallyport.Action    `json:"actions"`
	Ref         string                `json:"ref"`
	from, until time.Time             // zero of what was approved before votes were recorded as a whole
}

// on reports whether it was approved on a thing, as far as names tell: what is approved on a whole holds for its parts.
func (g granted) on(x sallyport.Resource) bool {
	ref, err := sallyport.ParseRef(g.Ref)
	is := x.Ref()
	return err == nil && (ref.Kind != is.Kind || ref.Org == is.Org && ref.Name == is.Name)
}

// A basis is what of recorded facts is held against approvals.
type basis struct {
	Policy    string                `json:"policy"`
	Principal sallyport.PrincipalID `json:"who"`
	Resource  sallyport.Resource    `json:"resource"`
	Grants    []struct {
		ID      string             `json:"id"`
		Actions []sallyport.Action `json:"actions"`
		From    time.Time          `json:"from"`
		Until   time.Time          `json:"until"`
	} `json:"grants"`
}

// unsigned is a vote as it was recorded before votes were signed.
func (a *Approvals) unsigned(index uint64, e sallyport.Event) {
	a.report.Session++
	if a.mustSign() {
		a.bad(index, e.Detail["request"], "a vote without a signature, where signatures were asked for")
		return
	}
	if id := e.Detail["grant"]; id != "" {
		a.approved[id] = granted{}
		a.report.Approved++
	}
}

// facts remembers the grants of a basis.
func (a *Approvals) facts(index uint64, e sallyport.Event) {
	var b basis
	if json.Unmarshal(e.Basis, &b) != nil {
		return
	}
	a.decidedBy(index, b.Policy)
	if len(b.Grants) > 0 {
		a.bases[e.Facts] = b
	}
}

// decided finds permitted calls that had a grant nobody approved, or another one than was approved.
func (a *Approvals) decided(index uint64, e sallyport.Event) {
	b := a.bases[e.Facts]
	if e.Outcome != sallyport.Allow.String() || len(b.Grants) == 0 {
		return
	}
	a.report.Used++
	for _, g := range b.Grants {
		was, good := a.approved[g.ID]
		switch {
		case !good:
			a.bad(index, g.ID, "it was counted in "+e.Decision+", and no good approval of it is in the log")
		case was.until.IsZero():
		case b.Principal != was.Principal || !was.on(b.Resource) || g.From.Before(was.from) || g.Until.After(was.until) || slices.ContainsFunc(g.Actions, func(x sallyport.Action) bool { return !slices.Contains(was.Actions, x) }):
			a.bad(index, g.ID, "it was counted in "+e.Decision+" for somebody, something, a time or actions that were not approved")
		}
	}
}

// Vote verifies the one vote that an entry of a log records, with the question that it is on, against approvers' keys that
// are known from elsewhere. It returns the statement that was signed. An entry that records no vote is an error.
func Vote(leaf []byte, keys []signed.Key) (statement string, err error) {
	var e sallyport.Event
	if err := json.Unmarshal(leaf, &e); err != nil || e.Type != sallyport.EventGrantVoted && e.Type != sallyport.EventPolicyVoted {
		return "", fmt.Errorf("verify vote: the entry records none")
	}
	q, ok := question(e)
	var v signed.Vote
	if !ok || json.Unmarshal([]byte(e.Detail["vote"]), &v) != nil {
		return "", fmt.Errorf("verify vote: the entry does not hold it as a whole")
	}
	if err := signed.VerifyVote(q, v, keys); err != nil {
		return "", err
	}
	return string(signed.Statement(q, v)), nil
}
