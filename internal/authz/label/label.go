// Package label owns the lowering of a class: it is asked for, approved by others, and
// done once (dual control, NIST SP 800-53 AC-3(2); reclassification, AC-16(5)). Raising
// a class needs none of it and is not here.
//
// It leaves the votes to authz/approval, who may vote to the guard, and the classes to
// artifact/catalog.
package label

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
)

// Topic is the topic of our requests for approval.
const Topic = "label"

// openFor is how long a request waits for approval.
const openFor = 72 * time.Hour

// A Change is what is asked for.
type Change struct {
	Ref  sallyport.Ref   // a model, a version by its number, a dataset or an endpoint
	From sallyport.Class // its own label when it was asked; another one makes the approval void
	To   sallyport.Class // less strict; "" is a version's way back to its model's
	Why  string
}

// A Service lowers classes. Its fields are set before its first use.
type Service struct {
	Approvals *approval.Service
	// Lower sets the class of a resource whose own label is still from, and is Conflict where it is not.
	Lower func(ctx context.Context, ref sallyport.Ref, from, to sallyport.Class) error
	Need  int // approvals, at least 1
	Clock func() time.Time
}

// canonical is the spelling that voters vote on.
type canonical struct {
	Ref  string          `json:"ref"`
	From sallyport.Class `json:"from"`
	To   sallyport.Class `json:"to"`
	Why  string          `json:"why"`
}

// Ask asks for a change and returns the request that others vote on. It is written down by note before anybody sees it.
func (s *Service) Ask(ctx context.Context, c Change, by sallyport.Principal, note approval.Note) (approval.Request, error) {
	const op = "change label"
	if ref, err := sallyport.ParseRef(c.Ref.String()); err != nil || ref != c.Ref {
		return approval.Request{}, sallyport.E(op, sallyport.Invalid, "no resource is named", "name a model, a version, a dataset or an endpoint")
	}
	for _, class := range []sallyport.Class{c.From, c.To} {
		if _, err := sallyport.ParseClass(string(class)); err != nil {
			return approval.Request{}, err
		}
	}
	text, err := json.Marshal(canonical{c.Ref.String(), c.From, c.To, c.Why})
	if err != nil {
		return approval.Request{}, sallyport.Wrap(op, sallyport.Invalid, "the request cannot be written", err)
	}
	to := string(c.To)
	if to == "" {
		to = "its model's class"
	}
	return s.Approvals.Ask(ctx, approval.Request{
		Topic: Topic, Asker: by.ID, AskerPerson: by.Person, Canonical: text, Need: s.Need,
		Subject:   fmt.Sprintf("%s: make %s, which is %s, %s", by.ID, c.Ref, c.From, to),
		Approvers: "people who may " + string(sallyport.LabelChange) + " on " + c.Ref.String(),
		Expires:   s.Clock().UTC().Truncate(time.Microsecond).Add(openFor),
	}, note)
}

// Read returns what a request asks for; of another topic, or altered, it is an error.
func Read(r approval.Request) (Change, error) {
	const op = "read request"
	if r.Topic != Topic || !r.Intact() {
		return Change{}, sallyport.E(op, sallyport.NotFound, r.ID+" does not ask for another label", "run 'sallyport catalog lowerings'")
	}
	var x canonical
	d := json.NewDecoder(bytes.NewReader(r.Canonical))
	d.DisallowUnknownFields()
	if err := d.Decode(&x); err != nil {
		return Change{}, sallyport.Wrap(op, sallyport.Invalid, "what was asked cannot be read", err)
	}
	ref, err := sallyport.ParseRef(x.Ref)
	return Change{ref, x.From, x.To, x.Why}, err
}

// Vote casts a ballot. With the last approval the class is lowered, and done is true.
func (s *Service) Vote(ctx context.Context, b approval.Ballot) (r approval.Request, done bool, err error) {
	if r, err = s.Approvals.Get(ctx, b.Request); err != nil {
		return r, false, err
	}
	if _, err := Read(r); err != nil {
		return r, false, err
	}
	if r, err = s.Approvals.Vote(ctx, b); err != nil || r.State != approval.Approved {
		return r, false, err
	}
	return s.settle(ctx, r)
}

// settle spends the approval, then lowers the class: what is interrupted between the
// two is asked for again, and nothing is ever lowered twice on one approval.
func (s *Service) settle(ctx context.Context, r approval.Request) (approval.Request, bool, error) {
	c, err := Read(r)
	if err != nil {
		return r, false, err
	}
	if r, err = s.Approvals.Use(ctx, r.ID, r.Hash); err != nil {
		return r, false, err
	}
	return r, true, s.Lower(ctx, c.Ref, c.From, c.To)
}
