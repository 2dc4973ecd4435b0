package guard_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/directory"
)

// managed is a device of rob's as the policies below want it.
func managed(now time.Time) device.Device {
	return device.Device{ID: "DV-1", Owner: "user:rob", Class: device.Standard, Level: device.Software, State: device.Active,
		Posture: device.Posture{At: now, OS: "linux 6.1", Encrypted: true, Locked: true, Patched: true}}
}

const postureRules = guardtest.Policies + `
@id("weights.managed") @owner("test") @requirement("DV-2") @text("Weights go to enrolled devices that are in order.")
forbid (principal, action == Action::"model.pull", resource)
unless { context.device.level >= 2 && context.device.encrypted && context.device.postureAge < 86400 };
@id("weights.risk") @owner("test") @requirement("ID-7") @text("Not while the session looks like somebody else's.") @outcome("hold")
forbid (principal, action == Action::"model.pull", resource) when { context.risk >= 90 };
@id("helpers.pull") @owner("test") @requirement("ID-14") @text("Helpers take weights for readers.")
permit (principal in Role::"helper", action == Action::"model.pull", resource);
@id("helpers.read") @owner("test") @requirement("ID-14") @text("Helpers read about what is no secret.")
permit (principal in Role::"helper", action == Action::"model.read", resource) when { resource has class && resource.class != "restricted" };
`

// caller is rob on his device, through a helper.
func (r *runner) onDevice() {
	now := r.Clock.Now()
	r.Rules(postureRules)
	r.Device(managed(now))
	r.Join(directory.Member{ID: "agent:helper", Person: "user:rita", State: directory.Active, Ends: now.Add(48 * time.Hour)}, "helper")
	r.bearer = r.Issue(sallyport.Principal{ID: "user:rob", Person: "user:rob", Session: "S-rob", Family: "F-rob", Scope: sallyport.Scope{"*"}, Assurance: sallyport.MultiFactor,
		AuthTime: now, Expires: now.Add(100 * time.Hour), Client: "cli", Key: "jkt:k", Device: "DV-1", Actors: []sallyport.PrincipalID{"agent:helper"}, Purpose: "training"})
}

// TestID8WhatIsKnownIsFeltInFlight changes what a running download was permitted on, and counts the bytes that are handed
// over after the order to stop.
func TestID8WhatIsKnownIsFeltInFlight(t *testing.T) {
	for _, test := range []struct {
		name   string
		end    func(r *runner)
		reason string
	}{
		{"the device is removed", func(r *runner) { r.Device(device.Device{ID: "DV-1", State: device.Removed}) }, "device.removed"},
		{"its disk is not encrypted any more", func(r *runner) {
			d := managed(r.Clock.Now())
			d.Posture.Encrypted = false
			r.Device(d)
		}, "weights.managed"},
		{"device management holds it for non-compliant", func(r *runner) {
			d := managed(r.Clock.Now())
			d.Against = "no agent"
			r.Device(d)
		}, "weights.managed"},
		{"its report gets old", func(r *runner) { r.Clock.Add(25 * time.Hour) }, "facts.stale weights.managed"},
		{"the session looks stolen", func(r *runner) { r.Risk("S-rob", 90) }, "weights.risk"},
		{"the session ends", func(r *runner) { r.Revoke("S-rob") }, "session.revoked"},
		{"the person loses the role", func(r *runner) { r.Drop("rob") }, "default.deny"},
		{"the helper is suspended", func(r *runner) { r.Suspend("helper") }, "actor.inactive"},
		{"who answers for the helper leaves", func(r *runner) { r.Suspend("rita") }, "actor.inactive"},
		{"the helper is locked", func(r *runner) { r.Lock("agent:helper") }, "hold:H-1"},
		{"the device is locked", func(r *runner) { r.Lock("device:DV-1") }, "hold:H-1"},
		{"the policy wants hardware", func(r *runner) { r.Rules(strings.ReplaceAll(postureRules, "level >= 2", "level >= 3")) }, "weights.managed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := story(t)
			r.onDevice()
			r.Ask(sallyport.ModelPull, "acme/open")
			r.Want(sallyport.Allow, "reader.weights")
			p := r.answer.Permit
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			go r.Guard.Watch(ctx, 20*time.Millisecond)
			flowing, ended := make(chan struct{}), make(chan struct{})
			go func() { // a download that hands over a chunk whenever it may
				defer close(ended)
				for i := 0; p.Count(1000) == nil; i++ {
					if i == 3 {
						close(flowing)
					}
					time.Sleep(time.Millisecond)
				}
			}()
			<-flowing
			before, from := p.Bytes(), time.Now()
			test.end(r)
			<-p.Context().Done()
			<-ended
			cut, ok := guard.AsCut(p.Context())
			if !ok || !slices.Contains(strings.Fields(test.reason), cut.Reason) {
				t.Fatalf("cut because of %+v, want %s", cut, test.reason)
			}
			if err := p.Done(sallyport.Delivered{}); err != nil {
				t.Fatal(err)
			}
			n := r.Of(sallyport.EventCompleted)[0].Delivered
			if n.End != "cut" || n.AfterCut > 1000 {
				t.Errorf("delivered %+v", n)
			}
			t.Logf("%d bytes after the event, %d of them after the order, %s", n.Bytes-before, n.AfterCut, time.Since(from).Round(time.Millisecond))
		})
	}
}

// TestID14WhoActsIsRecorded: a decision names the person and who acted for them, and is made again from the log alone.
func TestID14WhoActsIsRecorded(t *testing.T) {
	r := story(t)
	r.onDevice()
	r.Ask(sallyport.ModelPull, "acme/open")
	r.Want(sallyport.Allow, "helpers.pull")
	r.Ask(sallyport.ModelInfer, "acme/open")
	r.Want(sallyport.Deny, "actor:agent:helper")
	if len(r.answer.Remedies) == 0 {
		t.Error("no way out is named")
	}
	if s := guard.Sentence(r.answer, r.call); !strings.Contains(s, "no policy permits this; agent:helper, who acts for the principal, may not do this") {
		t.Error(s)
	}
	r.Ask(sallyport.ModelPull, "acme/open")
	bases := map[string][]byte{}
	for _, e := range r.Of(sallyport.EventFacts) {
		if bases[e.Facts] != nil {
			t.Errorf("the basis %s stands twice", e.Facts)
		}
		bases[e.Facts] = e.Basis
	}
	if len(bases) != 2 {
		t.Errorf("%d bases", len(bases))
	}
	for _, e := range r.Of(sallyport.EventDecided) {
		if q := e.Asked; e.Who != "user:rob" || q.Actors != "agent:helper" || bases[q.ActedOn] == nil || bases[e.Facts] == nil || q.ActedOn == e.Facts ||
			q.Network != "office" || q.Device == nil || q.Device.ID != "DV-1" || !q.Bound || q.Client != "cli" || q.Purpose != "training" {
			t.Errorf("recorded %+v", q)
		}
		d, err := decision.Again(r.Facts.Snapshot().Engine(), e, func(hash string) []byte { return bases[hash] })
		if err != nil || d.Outcome.String() != e.Outcome || fmt.Sprint(d.ReasonIDs()) != fmt.Sprint(e.Reasons) {
			t.Errorf("%s %v, again %s %v, %v", e.Outcome, e.Reasons, d.Outcome, d.ReasonIDs(), err)
		}
	}
	if r.Of(sallyport.EventDecided)[0].Reasons == nil {
		t.Error("a decision without a reason")
	}
}

// TestID14AnAgentHidesWhatItMayNotKnow: what the agent may not know of is not there, even where its person may know.
func TestID14AnAgentHidesWhatItMayNotKnow(t *testing.T) {
	r := story(t)
	r.onDevice()
	r.Ask(sallyport.ModelRead, "acme/secret")
	r.Want(sallyport.Deny, "actor:agent:helper")
	if !r.answer.Hidden {
		t.Error("the agent is told that the model exists")
	}
	r.As("rob")
	r.Ask(sallyport.ModelRead, "acme/secret")
	r.Want(sallyport.Allow, "user.use")
}

// TestAProofCountsOnce: who wants to know before reading on does not use up the caller's proof.
func TestAProofCountsOnce(t *testing.T) {
	r := story(t)
	n, real := 0, r.Guard.Who
	r.Guard.Who = func(ctx context.Context, p guard.Proof, now time.Time) (sallyport.Principal, error) {
		n++
		return real(ctx, p, now)
	}
	r.Ask(sallyport.ModelInfer, "acme/open")
	c := r.call
	n = 0
	for range 2 {
		if p, err := r.Guard.Identify(t.Context(), &c); err != nil || p.ID != "user:ana" {
			t.Fatalf("%+v, %v", p, err)
		}
	}
	if a, err := r.Guard.Check(t.Context(), c); err != nil || a.Permit == nil || n != 1 {
		t.Errorf("%+v, %v; the proof was used %d times", a, err, n)
	}
	r.Suspend("ana")
	if _, err := r.Guard.Check(t.Context(), c); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("whoever was suspended meanwhile: %v", err)
	}
	r.Clock.Add(2 * time.Hour)
	if _, err := r.Guard.Check(t.Context(), c); err == nil || n != 2 {
		t.Errorf("a proof that has ended: %v, used %d times", err, n)
	}
}
