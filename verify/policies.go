package verify

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval/signed"
)

// undoWithin is how long the last approved change can be undone without another approval.
const undoWithin = 72 * time.Hour

// A proposal is a policy set that somebody wanted in force, as the log tells it.
type proposal struct {
	version, base string
	author        bool // whoever answers for it signed it
	approved      bool
	expires       time.Time
	spent         int64 // the epoch that it was put in force as
}

// An epoch is a set in force.
type epoch struct {
	version, before, kind string
	at                    time.Time
}

// policies verifies that each set in force came to be as it must: the first by the configuration, each later one as its
// author signed it and others approved it, or as the last change undone.
type policies struct {
	proposals map[string]*proposal // by request
	epochs    map[int64][]epoch    // by number: an activation that failed is recorded, too
	newest    int64
	inForce   map[string]bool // versions
	told      map[string]bool // versions that were complained about
}

func newPolicies() policies {
	return policies{proposals: map[string]*proposal{}, epochs: map[int64][]epoch{}, inForce: map[string]bool{}, told: map[string]bool{}}
}

// of is the proposal that a request asks about: what the signed question says, never what stands beside it.
func (p *policies) of(q signed.Question) (*proposal, error) {
	if have := p.proposals[q.ID]; have != nil {
		return have, nil
	}
	var asks struct{ Version, Base string }
	if err := json.Unmarshal(q.Canonical, &asks); err != nil || q.Topic != topicPolicy || asks.Version == "" {
		return nil, fmt.Errorf("%s is about no policy set", q.ID)
	}
	p.proposals[q.ID] = &proposal{version: asks.Version, base: asks.Base, expires: q.Expires}
	return p.proposals[q.ID], nil
}

// topicPolicy is the topic of requests about policy sets.
const topicPolicy = "policy"

// signedBy takes an author's signature over a proposal.
func (a *Approvals) signedBy(index uint64, e sallyport.Event) {
	q, v, ok := a.onQuestion(index, e)
	if !ok {
		return
	}
	if err := signed.VerifyAuthor(q, v, a.keys); err != nil {
		a.bad(index, q.ID, err.Error())
		return
	}
	p, err := a.policies.of(q)
	if err != nil {
		a.bad(index, q.ID, err.Error())
		return
	}
	p.author = true
	a.report.Authors++
}

// activated holds an epoch to what must come before it.
func (a *Approvals) activated(index uint64, e sallyport.Event) {
	n, err := strconv.ParseInt(e.Detail["epoch"], 10, 64)
	x := epoch{version: e.On, before: e.Detail["before"], kind: e.Detail["kind"], at: e.Time()}
	if err != nil || n < 1 || x.version == "" {
		a.bad(index, "epoch", "the activation does not say what is in force")
		return
	}
	about := fmt.Sprintf("epoch %d", n)
	if err := a.mayBegin(n, x, e.Detail); err != nil {
		a.bad(index, about, fmt.Sprintf("%s was put in force: %v", x.version, err))
		a.policies.told[x.version] = true
		return
	}
	a.policies.epochs[n] = append(a.policies.epochs[n], x)
	a.policies.newest = max(a.policies.newest, n)
	a.policies.inForce[x.version] = true
	a.report.Policies++
}

// mayBegin reports why an epoch may not be.
func (a *Approvals) mayBegin(n int64, x epoch, detail map[string]string) error {
	if n > a.policies.newest+1 || n < a.policies.newest {
		return fmt.Errorf("number %d does not follow number %d", n, a.policies.newest)
	}
	var last *epoch
	for i, o := range a.policies.epochs[n-1] {
		if o.version == x.before {
			last = &a.policies.epochs[n-1][i]
		}
	}
	if n > 1 && last == nil || n == 1 && x.before != "" {
		return fmt.Errorf("it follows a set that was not in force")
	}
	switch x.kind {
	case "first", "adopted":
		if n > 1 {
			return fmt.Errorf("it is not the first, and nobody approved it")
		}
	case "bootstrap": // while one person was all there was: nobody else could approve
		if a.mustSign() || a.report.Approved > 0 {
			return fmt.Errorf("nobody approved it, although there were others who could")
		}
	case "rolled back":
		if last == nil || last.kind != "approved" || last.before != x.version || x.at.Sub(last.at) > undoWithin || x.at.Before(last.at) {
			return fmt.Errorf("it does not undo the last approved change within %s", undoWithin)
		}
	case "approved":
		return a.wasApproved(n, x, detail)
	default:
		return fmt.Errorf("it is of no kind")
	}
	return nil
}

// wasApproved reports why the request of an epoch does not put its set in force.
func (a *Approvals) wasApproved(n int64, x epoch, detail map[string]string) error {
	id := detail["request"]
	p := a.policies.proposals[id]
	switch {
	case p == nil || !p.approved:
		return fmt.Errorf("no good approval of %q is in the log", id)
	case p.version != x.version || a.questions[id] != detail["hash"]:
		return fmt.Errorf("%s approves another set, %s", id, p.version)
	case p.base != x.before:
		return fmt.Errorf("%s was approved in the place of another set than the one that was in force", id)
	case !p.author && a.mustSign():
		return fmt.Errorf("its author has not signed %s", id)
	case !x.at.Before(p.expires):
		return fmt.Errorf("the time of %s was over", id)
	case p.spent != 0 && p.spent != n:
		return fmt.Errorf("%s was spent as epoch %d", id, p.spent)
	}
	p.spent = n
	return nil
}

// mustSign reports whether approvals are signed from here on.
func (a *Approvals) mustSign() bool { return a.Signed || len(a.keys) > 0 }

// decidedBy finds decisions by a set that nothing put in force.
func (a *Approvals) decidedBy(index uint64, version string) {
	if version == "" || a.policies.newest == 0 || a.policies.inForce[version] || a.policies.told[version] {
		return // of before there were epochs, or told already
	}
	a.policies.told[version] = true
	a.bad(index, "policy", version+" decides, and no good activation of it is in the log")
}
