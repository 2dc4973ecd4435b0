package storetest

import (
	"testing"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/label"
	"sallyport/internal/authz/role"
	"sallyport/internal/store/sqldb"
)

// TestLoweringTakesOthers: nobody lowers a class alone, an approval counts once and only
// for the label that stood when it was asked for, and raising one needs nobody.
func TestLoweringTakesOthers(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		c, approvals := newCatalog(t, db, clock), newApprovals(db, clock)
		s := &label.Service{Approvals: approvals, Lower: c.Lower, Need: 2, Clock: clock.Now}
		fraud := sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud"}
		class := func() sallyport.Class {
			d, err := c.Dump(t.Context())
			must(t, err)
			return d.Models[0].Class
		}
		err := c.Raise(t.Context(), fraud, sallyport.Public)
		if sallyport.ReasonOf(err) != catalog.Lowered || class() != sallyport.Internal {
			t.Fatalf("raised to public: %v, it is %s", err, class())
		}
		must(t, c.Raise(t.Context(), fraud, sallyport.Restricted))
		ask := func() approval.Request {
			r, err := s.Ask(t.Context(), label.Change{Ref: fraud, From: sallyport.Restricted, To: sallyport.Public, Why: "x"}, sallyport.Principal{ID: "user:ana", Person: "user:ana"}, noted)
			must(t, err)
			return r
		}
		vote := func(r approval.Request, who sallyport.PrincipalID) (bool, error) {
			person, _ := behind(t.Context(), who)
			_, done, err := s.Vote(t.Context(), approval.Ballot{Request: r.ID, Voter: who, Person: person, Yes: true, Hash: r.Hash, Note: noted})
			return done, err
		}
		r := ask()
		for _, who := range []sallyport.PrincipalID{"user:ana", "user:ana.admin"} {
			_, err := vote(r, who)
			wantKind(t, "a vote by "+string(who)+", who asked", err, sallyport.Conflict)
		}
		if done, err := vote(r, "user:rita"); done || err != nil || class() != sallyport.Restricted {
			t.Errorf("after one of two votes: done %v, %v, it is %s", done, err, class())
		}
		_, err = vote(r, "user:rita.admin")
		wantKind(t, "a second vote of one person", err, sallyport.Conflict)
		if done, err := vote(r, "user:ravi"); !done || err != nil || class() != sallyport.Public {
			t.Errorf("after both: done %v, %v, it is %s", done, err, class())
		}
		must(t, c.Raise(t.Context(), fraud, sallyport.Restricted))
		_, err = vote(r, "user:eva")
		wantKind(t, "a vote on what was used", err, sallyport.Conflict)

		r = ask()
		_, err = vote(r, "user:rita")
		must(t, err)
		must(t, c.Lower(t.Context(), fraud, sallyport.Restricted, sallyport.Internal)) // meanwhile it is another
		_, err = vote(r, "user:ravi")
		wantKind(t, "an approval for another label", err, sallyport.Conflict)
		if class() != sallyport.Internal {
			t.Errorf("it is %s", class())
		}
		g, err := approvals.Ask(t.Context(), approval.Request{Topic: grant.Topic, Asker: "user:ana", AskerPerson: "user:ana", Subject: "x", Canonical: []byte(`{"ref":"acme/fraud"}`), Need: 1, Approvers: "x", Expires: r.Expires}, noted)
		must(t, err)
		_, err = vote(g, "user:rita")
		wantKind(t, "a request for something else", err, sallyport.NotFound)
	})
}

// TestPurposesAndEnvironmentsStay: what was said of a thing is there for the next one to
// read, a change of something else leaves it, and names are names.
func TestPurposesAndEnvironmentsStay(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		c := newCatalog(t, open(), newTurnedClock())
		data := catalog.Dataset{Org: "acme", Name: "claims", Project: "risk", Class: sallyport.Internal, Environment: sallyport.Production, Purposes: []string{"training"}}
		must(t, c.Add(t.Context(), catalog.Item{Dataset: &data}))
		fraud := sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud"}
		must(t, c.SetPurposes(t.Context(), fraud, []string{"training", "evaluation", "training"}))
		must(t, c.Put(t.Context(), catalog.Item{Model: &catalog.Model{Org: "acme", Name: "fraud", Class: sallyport.Restricted}}))
		must(t, c.Put(t.Context(), catalog.Item{Dataset: &catalog.Dataset{Org: "acme", Name: "claims", Class: sallyport.Internal, Environment: sallyport.Staging}}))
		d, err := c.Dump(t.Context())
		if err != nil || len(d.Models[0].Purposes) != 2 || d.Models[0].Purposes[0] != "evaluation" || d.Datasets[0].Environment != sallyport.Production || len(d.Datasets[0].Purposes) != 1 {
			t.Errorf("%+v, %+v, %v", d.Models[0], d.Datasets[0], err)
		}
		must(t, c.SetPurposes(t.Context(), fraud, nil))
		if d, err = c.Dump(t.Context()); err != nil || d.Models[0].Purposes != nil {
			t.Errorf("%+v, %v", d.Models[0], err)
		}
		wantKind(t, "no name", c.SetPurposes(t.Context(), fraud, []string{"a b"}), sallyport.Invalid)
		wantKind(t, "of a version", c.SetPurposes(t.Context(), sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud", Revision: "v1"}, nil), sallyport.Invalid)
		wantKind(t, "of nothing", c.SetPurposes(t.Context(), sallyport.Ref{Kind: sallyport.DatasetKind, Org: "acme", Name: "none"}, nil), sallyport.NotFound)
	})
}

// TestEmergencyRolesAreNotGiven: not by an administrator, not by inheritance; an
// emergency gives them, with an end.
func TestEmergencyRolesAreNotGiven(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		s := newRoles(open(), clock, nil)
		define(t, s, "break-glass-data")
		define(t, s, "break-glass-more", "break-glass-data")
		org := sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"}
		for _, name := range []string{"break-glass-data", "break-glass-more"} {
			_, err := assign(s, t.Context(), "user:joe", name, org)
			wantKind(t, name+", given", err, sallyport.Conflict)
		}
		wantKind(t, "a role that inherits it", s.Define(t.Context(), role.Role{Name: "reader", Inherits: []string{"break-glass-more"}}), sallyport.Invalid)
		a := role.Assignment{Subject: "user:joe", Role: "break-glass-data", Scope: org, By: "user:root"}
		_, err := s.AssignEmergency(t.Context(), a)
		wantKind(t, "an emergency without an end", err, sallyport.Invalid)
		a.Until = clock.Now().Add(3600e9)
		_, err = s.AssignEmergency(t.Context(), a)
		must(t, err)
	})
}
