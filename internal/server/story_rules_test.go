package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/authz/approval"
	sign "sallyport/internal/authz/approval/signed"
	"sallyport/internal/plumbing/softkey"
	"sallyport/internal/web/api"
	"sallyport/verify"
)

// signature is a vote signed by a browser's key, whatever it says.
func (r *story) signature(b *softkey.Browser, q approval.Request, v sign.Vote, key sign.Key) sign.Vote {
	r.t.Helper()
	challenge := sign.Challenge(q.Question(), v)
	options, err := json.Marshal(map[string]any{"publicKey": map[string]any{"challenge": encode64(challenge[:]), "rpId": key.Party}})
	if err != nil {
		r.t.Fatal(err)
	}
	raw, err := b.Key.Get(options, key.Origin)
	if err != nil {
		r.t.Fatal(err)
	}
	v.Signature = assertion(r.t, raw)
	return v
}

// GV-3, AZ-16: a policy set is in force with the signature of its author and of two others over its very text. One changed byte, an
// approval of one's own and one that is out of time are void; and the log alone tells each set that is in force otherwise.
func TestPolicySetIsSignedByItsAuthorAndByOthers(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	r.restartWith(func() { r.config.PolicyNeed = 2 })
	browsers := r.approvers("rita", "ravi")
	adam := r.As("adam").who.client
	old, err := adam.Policy(ctx)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := adam.Propose(ctx, api.Proposal{Schema: old.Schema, Policies: guardRail(t, r), Why: "nobody scales"})
	if err != nil || asked.Need != 2 || !asked.Sign || asked.Authored {
		t.Fatalf("proposed %+v, %v", asked, err)
	}
	id := asked.Request
	_, err = r.As("rita").who.client.VotePolicy(ctx, id, api.Vote{Yes: true, Hash: asked.Hash})
	r.heard("approve by session", err)
	r.WantStatus(409)
	if err := browsers["rita"].Approve(ctx, id, asked.Hash[1:]+asked.Hash[:1], "read it"); err == nil {
		t.Error("another text than the one that was read")
	}
	for _, name := range []string{"rita", "ravi"} {
		_, err := adam.Activate(ctx, id)
		r.heard("activate too early", err)
		r.WantStatus(409)
		if err := browsers[name].Approve(ctx, id, asked.Hash, "read it"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	_, err = adam.Activate(ctx, id)
	r.heard("activate without the author's signature", err)
	r.WantStatus(409)
	if !strings.Contains(r.last.api.Message, "not signed by user:adam") {
		t.Errorf("what is missing is not said: %s", r.last.api.Message)
	}
	if err := browsers["rita"].Approve(ctx, id, asked.Hash, ""); err == nil {
		t.Error("rita signs as the author")
	}
	review, err := adam.Review(ctx, id)
	if err != nil || !review.Author || review.MayVote {
		t.Errorf("the author sees %+v, %v", review, err)
	}
	if err := browsers["adam"].Approve(ctx, id, asked.Hash, ""); err != nil {
		t.Fatal(err)
	}
	p, err := adam.Proposal(ctx, id)
	if err != nil || !p.Authored || len(p.Votes) != 2 || p.State != "approved" {
		t.Fatalf("signed: %+v, %v", p, err)
	}
	rules := r.forgedVotes(browsers, id)
	for what, forge := range rules.forgeries {
		forge()
		_, err := adam.Activate(ctx, id)
		r.heard("activate with "+what, err)
		if r.WantStatus(409); r.last.status == 200 {
			t.Fatal(what)
		}
		rules.restore()
	}
	e, err := adam.Activate(ctx, id)
	if err != nil || e.Version != asked.Version {
		t.Fatalf("epoch %+v, %v", e, err)
	}

	// Who holds the database takes the author's signature away: the server does not begin with that set.
	r.restartWith(func() {})
	rules = r.forgedVotes(browsers, id)
	if err := r.server.Close(); err != nil {
		t.Fatal(err)
	}
	rules.forgeries["no signature of the author"]()
	if err := r.start(ctx, trail.Files{}); err == nil || !strings.Contains(err.Error(), "not one that was approved") {
		t.Errorf("it started with %v", err)
	}
	rules.restore()
	if err := r.start(ctx, trail.Files{}); err != nil {
		t.Fatal(err)
	}

	report := r.verifiedApprovals(nil)
	if report.Policies != 2 || report.Authors != 1 || len(report.Problems) != 0 {
		t.Errorf("from the log: %+v", report)
	}
	r.forgedActivations(id, e)
}

// forgedRules are what a thief makes of an approved proposal in the store.
type forgedRules struct {
	forgeries map[string]func()
	restore   func()
}

func (r *story) forgedVotes(browsers map[string]*softkey.Browser, id string) forgedRules {
	r.t.Helper()
	h, ctx := r.thief(), r.t.Context()
	good, err := h.own.Approval().Get(ctx, id)
	if err != nil {
		r.t.Fatal(err)
	}
	kept, err := h.own.Proposals().Get(ctx, id)
	if err != nil || kept.Author == nil {
		r.t.Fatalf("the author's signature: %v", err)
	}
	chain, err := h.own.Approver().List(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	first := func(edit func(*sign.Vote)) func() {
		return func() {
			h.write(good, func(q *approval.Request) {
				v := q.Votes[0]
				s := *v.Signature
				v.Signature = &s
				edit(&v)
				q.Votes = []sign.Vote{v, q.Votes[1]}
			})
		}
	}
	author := func(edit func(*sign.Vote)) func() {
		return func() {
			v := *kept.Author
			s := *v.Signature
			v.Signature = &s
			edit(&v)
			if err := h.own.Proposals().Sign(ctx, id, v); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	flip := func(v *sign.Vote) {
		raw := append([]byte{}, v.Signature.Signature...)
		raw[len(raw)-1] ^= 1
		v.Signature.Signature = raw
	}
	again := func(b *softkey.Browser) func(*sign.Vote) {
		return func(v *sign.Vote) { v.Signature = nil; *v = r.signature(b, good, *v, chain[0].Key) }
	}
	return forgedRules{
		forgeries: map[string]func(){
			"a changed byte in an approval": first(flip),
			"a changed reason":              first(func(v *sign.Vote) { v.Reason += "!" }),
			"an approval of one's own": first(func(v *sign.Vote) {
				v.Voter, v.Person = "user:adam", "user:adam"
				again(browsers["adam"])(v)
			}),
			"an approval after its time":           first(func(v *sign.Vote) { v.At = good.Expires.Add(time.Second); again(browsers["rita"])(v) }),
			"an approval from before it was asked": first(func(v *sign.Vote) { v.At = good.Created.Add(-time.Second); again(browsers["rita"])(v) }),
			"one approval twice":                   func() { h.write(good, func(q *approval.Request) { q.Votes = []sign.Vote{q.Votes[0], q.Votes[0]} }) },
			"one approval too few":                 func() { h.write(good, func(q *approval.Request) { q.Votes = q.Votes[:1] }) },
			"one approval needed":                  func() { h.write(good, func(q *approval.Request) { q.Need, q.Votes = 1, q.Votes[:1] }) },
			"another set approved": func() {
				h.write(good, func(q *approval.Request) {
					q.Canonical = []byte(strings.Replace(string(q.Canonical), kept.Version[7:15], "00000000", 1))
				})
			},
			"the author's vote among the others'":      func() { h.write(good, func(q *approval.Request) { q.Votes = []sign.Vote{*kept.Author, q.Votes[1]} }) },
			"a changed byte in the author's signature": author(flip),
			"the author's signature by somebody else":  author(again(browsers["rita"])),
			"the author's signature as an approval's":  author(func(v *sign.Vote) { *v = good.Votes[0] }),
			"no signature of the author":               func() { h.exec("UPDATE policy_proposal SET author = '' WHERE request = ?", id) },
			"another text": func() {
				h.exec("UPDATE policy_proposal SET source = replace(source, 'Nobody scales', 'Everybody scales') WHERE request = ?", id)
			},
		},
		restore: func() {
			h.write(good, func(*approval.Request) {})
			author(func(*sign.Vote) {})()
			h.exec("UPDATE policy_proposal SET source = replace(source, 'Everybody scales', 'Nobody scales') WHERE request = ?", id)
		},
	}
}

// forgedActivations walks the server's log as outsiders do, after whoever holds the log's key rewrote it.
func (r *story) forgedActivations(id string, e api.Epoch) {
	t := r.t
	t.Helper()
	var leaves []map[string]any
	r.verified(uint64(len(r.leaves())))
	if _, err := verify.Log(t.Context(), verify.Dir(r.server.LogDir()), r.server.LogKey(), verify.Options{Each: func(_ uint64, leaf []byte) error {
		var v map[string]any
		err := json.Unmarshal(leaf, &v)
		leaves = append(leaves, v)
		return err
	}}); err != nil {
		t.Fatal(err)
	}
	is := func(v map[string]any, kind sallyport.EventType) bool {
		x, _ := v["x"].(map[string]any)
		return v["t"] == string(kind) && (x["request"] == id || x["epoch"] == fmt.Sprint(e.Number))
	}
	// rewritten is the log with each entry that edit makes nothing of left out.
	rewritten := func(edit func(v, x map[string]any) bool) verify.ApprovalReport {
		a := &verify.Approvals{}
		for i, v := range leaves {
			v = maps.Clone(v)
			x, _ := v["x"].(map[string]any)
			x = maps.Clone(x)
			if v["x"] = x; !edit(v, x) {
				continue
			}
			raw, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Each(uint64(i), raw); err != nil {
				t.Fatal(err)
			}
		}
		return a.Report()
	}
	if report := rewritten(func(map[string]any, map[string]any) bool { return true }); len(report.Problems) != 0 {
		t.Fatalf("the log as it is: %+v", report)
	}
	for what, edit := range map[string]func(v, x map[string]any) bool{
		"no vote of the others":      func(v, _ map[string]any) bool { return !is(v, sallyport.EventPolicyVoted) },
		"no signature of the author": func(v, _ map[string]any) bool { return !is(v, sallyport.EventPolicySigned) },
		"another set": func(v, _ map[string]any) bool {
			if is(v, sallyport.EventPolicyActivated) {
				v["on"] = "sha256:" + strings.Repeat("0", 64)
			}
			return true
		},
		"alone": func(v, x map[string]any) bool {
			if is(v, sallyport.EventPolicyActivated) {
				x["kind"] = "bootstrap"
			}
			return true
		},
		"undone": func(v, x map[string]any) bool {
			if is(v, sallyport.EventPolicyActivated) {
				x["kind"] = "rolled back"
			}
			return true
		},
		"another place": func(v, x map[string]any) bool {
			if is(v, sallyport.EventPolicyActivated) {
				x["epoch"] = "7"
			}
			return true
		},
		"after its time": func(v, _ map[string]any) bool {
			if is(v, sallyport.EventPolicyActivated) {
				v["at"] = time.UnixMicro(int64(v["at"].(float64))).Add(8 * 24 * time.Hour).UnixMicro()
			}
			return true
		},
	} {
		report := rewritten(edit)
		named := false
		for _, p := range report.Problems {
			named = named || strings.HasPrefix(p.About, "epoch ") && strings.Contains(p.Problem, "was put in force")
		}
		if !named || report.Policies != 1 {
			t.Errorf("%s: %+v", what, report)
		}
	}
	// An activation that is not there at all: what was decided by the set tells it.
	report := rewritten(func(v, _ map[string]any) bool { return !is(v, sallyport.EventPolicyActivated) })
	if len(report.Problems) != 1 || report.Problems[0].About != "policy" || !strings.Contains(report.Problems[0].Problem, e.Version) {
		t.Errorf("decided by a set that nothing put in force: %+v", report)
	}
}
