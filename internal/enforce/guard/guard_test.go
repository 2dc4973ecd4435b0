package guard_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/decision"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/plumbing/secret"
)

const door = "https://sallyport.test/hf"

// A runner reads like a story: r.As("ana"); r.Ask(ModelPull, "acme/open"); r.Want(Deny, "default.deny").
type runner struct {
	*guardtest.World
	t      *testing.T
	bearer string
	answer guard.Answer
	err    error
	call   guard.Call
}

func story(t *testing.T) *runner {
	r := &runner{World: guardtest.New(t), t: t}
	r.As("ana")
	return r
}

func (r *runner) As(name string) { r.Proved(name, sallyport.MultiFactor, "*") }

func (r *runner) Proved(name string, level sallyport.Assurance, scope string) {
	r.bearer = guardtest.Token(name, level, door, scope)
}

func (r *runner) Ask(a sallyport.Action, ref string, carry ...sallyport.ObligationKind) {
	r.t.Helper()
	target, err := sallyport.ParseRef(ref)
	if err != nil {
		r.t.Fatal(err)
	}
	r.call = guard.Call{Door: "test", Action: a, Target: target, IP: "192.0.2.7", CarryOut: carry,
		Proof: guard.Proof{Bearer: secret.NewText(r.bearer), Audience: door}}
	r.answer, r.err = r.Guard.Check(r.t.Context(), r.call)
}

func (r *runner) Want(o sallyport.Outcome, reason string) {
	r.t.Helper()
	if r.err != nil {
		r.t.Fatalf("%s on %s: %v", r.call.Action, r.call.Target, r.err)
	}
	if r.answer.Outcome != o || !slices.Contains(r.answer.ReasonIDs(), reason) {
		r.t.Fatalf("%s on %s: %s %v, want %s because of %s", r.call.Action, r.call.Target, r.answer.Outcome, r.answer.ReasonIDs(), o, reason)
	}
	if (r.answer.Permit != nil) != (o == sallyport.Allow) {
		r.t.Fatalf("outcome %s and permit %v", o, r.answer.Permit)
	}
}

func (r *runner) WantError(k sallyport.Kind) {
	r.t.Helper()
	if sallyport.KindOf(r.err) != k || r.err == nil || r.answer.Permit != nil {
		r.t.Fatalf("error %v, permit %v; want kind %s and no permit", r.err, r.answer.Permit, k)
	}
}

func TestUseIsNotPossession(t *testing.T) {
	r := story(t)
	r.Ask(sallyport.ModelInfer, "acme/open")
	r.Want(sallyport.Allow, "user.use")
	r.Ask(sallyport.ModelPullAux, "acme/open")
	r.Want(sallyport.Allow, "user.use")
	r.Ask(sallyport.ModelPull, "acme/open")
	r.Want(sallyport.Deny, "default.deny")
	r.As("rob")
	r.Ask(sallyport.ModelPull, "acme/open")
	r.Want(sallyport.Allow, "reader.weights")
}

func TestStepUp(t *testing.T) {
	r := story(t)
	r.Proved("ana", sallyport.SingleFactor, "*")
	r.Ask(sallyport.ModelInfer, "acme/secret")
	r.Want(sallyport.StepUp, "secret.step-up")
	if r.answer.Needs != sallyport.MultiFactor {
		t.Errorf("needs %s", r.answer.Needs)
	}
}

func TestNobodyIsRefusedAndRecorded(t *testing.T) {
	for name, bearer := range map[string]string{
		"no proof": "", "garbage": "x", "other door (A-05)": guardtest.Token("ana", sallyport.MultiFactor, "https://sallyport.test/openai", "*"),
		"unknown person": guardtest.Token("mallory", sallyport.MultiFactor, door, "*"),
	} {
		t.Run(name, func(t *testing.T) {
			r := story(t)
			r.bearer = bearer
			r.Ask(sallyport.ModelInfer, "acme/open")
			r.WantError(sallyport.Unknown)
			if got := r.Of(sallyport.EventRefused); len(got) != 1 || len(got[0].Reasons) != 1 {
				t.Errorf("recorded %v", got)
			}
		})
	}
}

func TestTokenScopeNarrows(t *testing.T) {
	r := story(t)
	r.Proved("rob", sallyport.MultiFactor, "model.infer@acme/open")
	r.Ask(sallyport.ModelInfer, "acme/open")
	r.Want(sallyport.Allow, "user.use")
	r.Ask(sallyport.ModelPull, "acme/open")
	r.Want(sallyport.Deny, "token.scope")
	r.Proved("rob", sallyport.MultiFactor, "")
	r.Ask(sallyport.ModelInfer, "acme/open")
	r.Want(sallyport.Deny, "token.scope")
}

func TestExistenceIsWithheld(t *testing.T) {
	r := story(t)
	r.As("zoe")
	r.Ask(sallyport.ModelPull, "acme/secret")
	hidden, absent := guard.Sentence(r.answer, r.call), ""
	if !r.answer.Hidden || r.answer.Permit != nil {
		t.Fatalf("a model that zoe may not know of: %+v", r.answer)
	}
	r.Ask(sallyport.ModelPull, "acme/nothing")
	absent = guard.Sentence(r.answer, r.call)
	if !r.answer.Hidden {
		t.Fatal("a model that is not there is told from one that is")
	}
	same := strings.NewReplacer("acme/secret", "M", "acme/nothing", "M")
	const id = len("Sallyport D-000000000000")
	if a, b := same.Replace(hidden[id:]), same.Replace(absent[id:]); a != b {
		t.Errorf("%q and %q differ", a, b)
	}
	r.Lock("model:acme/secret")
	r.Ask(sallyport.ModelPull, "acme/secret")
	if !r.answer.Hidden {
		t.Error("a hold tells that the model exists")
	}
	r.As("ana")
	r.Ask(sallyport.ModelPull, "acme/open")
	if r.answer.Hidden {
		t.Error("ana may read acme/open and is told that it is not there")
	}
	r.Ask(sallyport.ModelRead, "acme/open@v9")
	if r.answer.Hidden || r.answer.Outcome != sallyport.Deny {
		t.Errorf("a version that is not there, of a model she may read: %+v", r.answer)
	}
}

func TestRecordBeforeAct(t *testing.T) {
	r := story(t)
	r.Ask(sallyport.ModelInfer, "acme/open")
	r.Want(sallyport.Allow, "user.use")
	events := r.Events()
	if len(events) != 2 || events[0].Type != sallyport.EventFacts || events[1].Type != sallyport.EventDecided {
		t.Fatalf("before any effect the trail holds %v", events)
	}
	d := events[1]
	if d.Decision != r.answer.ID || d.Who != "user:ana" || d.On != "acme/open@v1" || d.Outcome != "allow" || d.Facts != events[0].Facts || d.Asked.IP != "192.0.2.7" || r.answer.Seq != 1 {
		t.Errorf("recorded %+v", d)
	}
	if err := r.answer.Permit.Count(100); err != nil {
		t.Fatal(err)
	}
	if err := r.answer.Permit.Done(sallyport.Delivered{Status: 200}); err != nil {
		t.Fatal(err)
	}
	done := r.Of(sallyport.EventCompleted)
	if len(done) != 1 || done[0].Decision != r.answer.ID || done[0].Delivered.Bytes != 100 || done[0].Delivered.Status != 200 {
		t.Errorf("completed %+v", done)
	}
	if err := r.answer.Permit.Done(sallyport.Delivered{Status: 500}); err != nil || len(r.Of(sallyport.EventCompleted)) != 1 {
		t.Error("a second Done was recorded")
	}
	r.Ask(sallyport.ModelInfer, "acme/open")
	if n := len(r.Of(sallyport.EventFacts)); n != 1 {
		t.Errorf("the same facts stand %d times in the trail", n)
	}
}

func TestI03NoRecordNoPermit(t *testing.T) {
	r := story(t)
	r.Ask(sallyport.ModelInfer, "acme/open")
	running := r.answer.Permit
	r.BreakLog()
	r.Ask(sallyport.ModelInfer, "acme/open")
	r.WantError(sallyport.Unavailable)
	r.As("zoe")
	r.Ask(sallyport.ModelPull, "acme/open")
	r.WantError(sallyport.Unavailable)
	r.bearer = "x"
	r.Ask(sallyport.ModelPull, "acme/open")
	r.WantError(sallyport.Unavailable)
	if _, err := r.Guard.Unmapped(t.Context(), r.call, "GET", "/x"); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("unmapped without a record: %v", err)
	}
	if err := running.Done(sallyport.Delivered{Status: 200}); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("the end of a call without a record: %v", err)
	}
	if r.Guard.Open() != 0 {
		t.Errorf("%d calls stayed open", r.Guard.Open())
	}
}

func TestZeroPermitOpensNothing(t *testing.T) {
	for _, p := range []*guard.Permit{nil, {}} {
		if p.Valid() || p.Allows(sallyport.ModelPull) {
			t.Error("a permit that no guard made is valid")
		}
		if err := p.Done(sallyport.Delivered{}); err == nil {
			t.Error("it can be finished")
		}
	}
	r := story(t)
	r.Ask(sallyport.ModelInfer, "acme/open")
	if r.answer.Permit.Allows(sallyport.ModelPull) || !r.answer.Permit.Allows(sallyport.ModelInfer) {
		t.Error("a permit allows another action than its own")
	}
	if err := r.answer.Permit.Done(sallyport.Delivered{}); err != nil {
		t.Fatal(err)
	}
	if r.answer.Permit.Valid() {
		t.Error("a finished permit is valid")
	}
}

func TestUnsupportedObligationDenies(t *testing.T) {
	r := story(t)
	r.As("lim")
	r.Ask(sallyport.ModelPull, "acme/open")
	r.Want(sallyport.Deny, "obligation.unsupported")
	r.Ask(sallyport.ModelPull, "acme/open", sallyport.LimitBytes)
	r.Want(sallyport.Allow, "limited.weights")
	if o := r.answer.Permit.Obligations(); len(o) != 1 || o[0].String() != "limit-bytes=1048576" {
		t.Errorf("obligations %v", o)
	}
}

// TestA27WhateverEndsARightCutsTheCall: every way of losing a right ends a call
// that is running, with the bytes after the order counted.
func TestA27WhateverEndsARightCutsTheCall(t *testing.T) {
	ways := map[string]func(r *runner){
		"hold on the person":   func(r *runner) { r.Lock("user:rob") },
		"hold on the session":  func(r *runner) { r.Lock("session:S-rob") },
		"hold on the family":   func(r *runner) { r.Lock("family:F-rob") },
		"hold on the model":    func(r *runner) { r.Lock("model:acme/open") },
		"hold on the version":  func(r *runner) { r.Lock("model:acme/open@v1") },
		"hold on the project":  func(r *runner) { r.Lock("project:acme/lab") },
		"hold on the org":      func(r *runner) { r.Lock("org:acme") },
		"session revoked":      func(r *runner) { r.Revoke("S-rob") },
		"token family revoked": func(r *runner) { r.Revoke("F-rob") },
		"person suspended":     func(r *runner) { r.Suspend("rob") },
		"roles taken away":     func(r *runner) { r.Drop("rob") },
		"version retired":      func(r *runner) { r.Catalog(func(d *catalog.Dump) { d.Versions[0].Retired = true }) },
		"model made restricted and policy changed": func(r *runner) {
			e, err := guardtest.Compile(strings.ReplaceAll(guardtest.Policies, `Role::"reader"`, `Role::"nobody"`))
			if err != nil {
				r.t.Fatal(err)
			}
			r.Facts.Use(e)
		},
	}
	for name, end := range ways {
		t.Run(name, func(t *testing.T) {
			r := story(t)
			r.As("rob")
			r.Ask(sallyport.ModelPull, "acme/open")
			r.Want(sallyport.Allow, "reader.weights")
			p := r.answer.Permit
			if err := p.Count(10); err != nil {
				t.Fatal(err)
			}
			r.As("ana")
			r.Ask(sallyport.ModelInfer, "acme/secret")
			bystander := r.answer.Permit
			end(r)
			go func() {
				<-bystander.Context().Done()
				if err := bystander.Done(sallyport.Delivered{}); err != nil {
					t.Error(err)
				}
			}()
			defer bystander.Done(sallyport.Delivered{})
			go func() {
				<-p.Context().Done()
				if err := p.Count(5); err == nil {
					t.Error("bytes after the cut are not refused")
				}
				if err := p.Done(sallyport.Delivered{Status: 200}); err != nil {
					t.Error(err)
				}
			}()
			report := r.Guard.Sweep(t.Context(), 5*time.Second)
			i := slices.IndexFunc(report, func(c guard.CutCall) bool { return c.Decision == p.ID() })
			if i < 0 || !report[i].Ended || report[i].Bytes != 15 || report[i].AfterCut != 5 {
				t.Fatalf("report %+v", report)
			}
			if _, ok := guard.AsCut(p.Context()); !ok || p.Valid() {
				t.Error("the permit's context does not say that it was cut")
			}
			if e := r.Of(sallyport.EventCut); !slices.ContainsFunc(e, func(e sallyport.Event) bool { return e.Decision == p.ID() }) {
				t.Errorf("cuts recorded: %+v", e)
			}
			ends := r.Of(sallyport.EventCompleted)
			if i := slices.IndexFunc(ends, func(e sallyport.Event) bool { return e.Decision == p.ID() }); i < 0 || ends[i].Delivered.End != "cut" || ends[i].Delivered.AfterCut != 5 {
				t.Errorf("ends recorded: %+v", ends)
			}
			if wide := name == "hold on the project" || name == "hold on the org"; bystander.Valid() == wide {
				t.Errorf("somebody else's call: running %t", bystander.Valid())
			}
			r.As("rob")
			r.Ask(sallyport.ModelPull, "acme/open")
			if r.err == nil && r.answer.Permit != nil && r.answer.Resource.Version != "" {
				t.Error("the next request is permitted")
			}
		})
	}
}

// TestTheOrderReportsWhatAnotherSweepCut has the watch come first, as it does when both are woken by one change.
func TestTheOrderReportsWhatAnotherSweepCut(t *testing.T) {
	r := story(t)
	r.Ask(sallyport.ModelInfer, "acme/open")
	before := r.answer.Permit
	r.As("rob")
	r.Ask(sallyport.ModelInfer, "acme/open")
	order := r.answer.Permit
	r.As("ana")
	r.Ask(sallyport.ModelInfer, "acme/open")
	p := r.answer.Permit
	if before == nil || order == nil || p == nil {
		t.Fatal("not permitted")
	}
	r.Lock("user:ana")
	r.Guard.Sweep(t.Context(), 0)
	for _, cut := range []*guard.Permit{before, p} {
		if err := cut.Done(sallyport.Delivered{}); err != nil {
			t.Error(err)
		}
	}
	report := r.Guard.Enforce(t.Context(), order, 5*time.Second)
	if len(report) != 2 || !report[0].Ended || !report[1].Ended {
		t.Errorf("report %+v", report)
	}
	if again := r.Guard.Enforce(t.Context(), p, 0); slices.ContainsFunc(again, func(c guard.CutCall) bool { return c.Decision == p.ID() }) {
		t.Error("an order reports itself")
	}
	if err := order.Done(sallyport.Delivered{}); err != nil {
		t.Error(err)
	}
}

func TestGrantEndsByItself(t *testing.T) {
	r := story(t)
	r.Ask(sallyport.ModelPull, "acme/open")
	r.Want(sallyport.Deny, "default.deny")
	r.Grant("ana", sallyport.ModelPull, "acme/open@v1", r.Clock.Now().Add(time.Minute))
	r.Ask(sallyport.ModelPull, "acme/open")
	r.Want(sallyport.Allow, "granted")
	p := r.answer.Permit
	if cut := r.Guard.Sweep(t.Context(), 0); len(cut) != 0 {
		t.Fatalf("cut while the grant holds: %v", cut)
	}
	r.Clock.Add(2 * time.Minute)
	if err := r.Facts.Sync(t.Context()); err != nil { // the facts are as fresh as the clock
		t.Fatal(err)
	}
	if cut := r.Guard.Sweep(t.Context(), 0); len(cut) != 1 || p.Valid() {
		t.Errorf("an expired grant cut %v", cut)
	}
	r.Ask(sallyport.ModelPull, "acme/open")
	r.Want(sallyport.Deny, "default.deny")
}

func TestA21TheNameMovesTheDigestStays(t *testing.T) {
	r := story(t)
	r.As("rob")
	r.Ask(sallyport.ModelPull, "acme/open")
	r.Want(sallyport.Allow, "reader.weights")
	p := r.answer.Permit
	r.Catalog(func(d *catalog.Dump) {
		d.Versions = append(d.Versions, catalog.Version{Org: "acme", Model: "open", Number: "v2", Digest: strings.Repeat("c3", 32), Environment: sallyport.Production})
		d.Models[0].Aliases = map[string]string{"main": "v2"}
	})
	if cut := r.Guard.Sweep(t.Context(), 0); len(cut) != 0 || !p.Valid() || p.Resource().Version != "v1" {
		t.Errorf("a push cut a download of the version before: %v", cut)
	}
	r.Ask(sallyport.ModelPull, "acme/open")
	if r.answer.Permit.Resource().Version != "v2" {
		t.Errorf("main is %s", r.answer.Permit.Resource())
	}
}

// TestEnterBeforeGather: a hold placed at any moment around a call either refuses
// it or cuts it. None slips between.
func TestEnterBeforeGather(t *testing.T) {
	for i := range 200 {
		r := story(t)
		r.As("rob")
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Microsecond)
			r.Lock("user:rob")
			r.Guard.Sweep(t.Context(), 0)
		})
		r.Ask(sallyport.ModelPull, "acme/open")
		wg.Wait()
		if r.answer.Permit.Valid() {
			t.Fatalf("round %d: the call runs on after the hold", i)
		}
	}
}

func TestI12EveryDecisionReplays(t *testing.T) {
	r := story(t)
	for _, who := range []string{"ana", "rob", "lim", "pia", "rita", "zoe"} {
		for _, level := range []sallyport.Assurance{sallyport.SingleFactor, sallyport.MultiFactor} {
			for _, a := range []sallyport.Action{sallyport.ModelInfer, sallyport.ModelPull, sallyport.ModelPush, sallyport.AuditRead, sallyport.ModelDelete} {
				for _, on := range []string{"acme/open", "acme/secret", "acme/nothing", "system", "acme/open@v7"} {
					r.Proved(who, level, "*")
					r.Ask(a, on, sallyport.LimitBytes)
				}
			}
		}
	}
	bases := map[string][]byte{}
	for _, e := range r.Of(sallyport.EventFacts) {
		bases[e.Facts] = e.Basis
	}
	decided := r.Of(sallyport.EventDecided)
	if len(decided) != 6*2*5*5 {
		t.Fatalf("%d decisions recorded", len(decided))
	}
	for _, e := range decided {
		d, err := decision.Again(r.Facts.Snapshot().Engine(), e, func(hash string) []byte { return bases[hash] })
		if err != nil || d.Outcome.String() != e.Outcome || fmt.Sprint(d.ReasonIDs()) != fmt.Sprint(e.Reasons) {
			t.Errorf("%s %s on %s: recorded %s %v, again %s %v, %v", e.Who, e.Action, e.On, e.Outcome, e.Reasons, d.Outcome, d.ReasonIDs(), err)
		}
	}
}

func TestUnmappedIsRecorded(t *testing.T) {
	r := story(t)
	r.Ask(sallyport.ModelInfer, "acme/open")
	id, err := r.Guard.Unmapped(t.Context(), r.call, "POST", "/v1/load\x1b[31m_adapter\n")
	if err != nil {
		t.Fatal(err)
	}
	e := r.Of(sallyport.EventUnmapped)
	if len(e) != 1 || e[0].Decision != id || e[0].Who != "user:ana" || e[0].Reasons[0] != "route.unmapped" || strings.ContainsAny(e[0].Detail["path"], "\x1b\n") {
		t.Errorf("recorded %+v", e)
	}
}

func TestVisibleFilters(t *testing.T) {
	r := story(t)
	refs := []sallyport.Ref{{Kind: sallyport.ModelKind, Org: "acme", Name: "open"}, {Kind: sallyport.ModelKind, Org: "acme", Name: "secret"}, {Kind: sallyport.ModelKind, Org: "acme", Name: "gone"}}
	for who, want := range map[string]int{"ana": 2, "zoe": 0} {
		r.As(who)
		r.Ask(sallyport.ModelList, "system")
		r.Want(sallyport.Allow, "everybody.system")
		if got := r.Guard.Visible(r.answer.Permit, sallyport.ModelRead, refs); len(got) != want {
			t.Errorf("%s sees %v", who, got)
		}
	}
}

func TestWatchSweepsOnChange(t *testing.T) {
	r := story(t)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { r.Guard.Watch(ctx, time.Hour) })
	defer wg.Wait()
	defer stop()
	r.As("rob")
	r.Ask(sallyport.ModelPull, "acme/open")
	p := r.answer.Permit
	for p.Valid() {
		r.Revoke("S-rob") // Watch may not be listening yet: a change comes again
		select {
		case <-p.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	if _, ok := guard.AsCut(p.Context()); !ok {
		t.Error("the call ended, but not by the cut")
	}
}

func TestSentenceIsOneLineAndHelps(t *testing.T) {
	r := story(t)
	r.Ask(sallyport.ModelPull, "acme/open")
	s := guard.Sentence(r.answer, r.call)
	if strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c > 0x7e }) {
		t.Errorf("%q is not one line of ASCII", s)
	}
	for _, want := range []string{r.answer.ID, "model.pull", "acme/open", "sallyport request"} {
		if !strings.Contains(s, want) {
			t.Errorf("%q does not say %q", s, want)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	w := guardtest.New(b)
	call := guard.Call{Door: "bench", Action: sallyport.ModelInfer, Target: sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "open"},
		IP: "127.0.0.1", Proof: guard.Proof{Bearer: secret.NewText(guardtest.Token("ana", sallyport.MultiFactor, door, "*")), Audience: door}}
	w.Guard.Record = func(context.Context, ...[]byte) (uint64, error) { return 0, nil }
	b.ReportAllocs()
	for b.Loop() {
		a, err := w.Guard.Check(b.Context(), call)
		if err != nil || a.Permit == nil {
			b.Fatal(err)
		}
		if err := a.Permit.Done(sallyport.Delivered{Status: 200}); err != nil {
			b.Fatal(err)
		}
	}
}
