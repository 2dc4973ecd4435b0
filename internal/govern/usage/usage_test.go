package usage_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/history"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/govern/usage"
	"sallyport/internal/identity/directory"
)

// log answers searches from rows, the newest first, as the index does.
type log []history.Row

func (l log) find(_ context.Context, q history.Query) ([]history.Row, error) {
	var rows []history.Row
	for _, r := range slices.Backward(l) {
		if r.Who == q.Who && r.Outcome == q.Outcome && slices.Contains(q.Types, r.Type) && !r.At.Before(q.Since) && (q.Before == 0 || r.Seq < q.Before) && len(rows) < q.Most {
			rows = append(rows, r)
		}
	}
	return rows, nil
}

func world(t *testing.T) *guardtest.World {
	t.Helper()
	w := guardtest.New(t)
	w.Join(directory.Member{ID: "service:trainer", Person: "user:ana", Org: "acme", State: directory.Active}, "user", "pusher")
	return w
}

func TestLook(t *testing.T) {
	w := world(t)
	now := w.Clock.Now()
	var l log
	did := func(who sallyport.PrincipalID, a sallyport.Action, on, outcome string, ago time.Duration) {
		l = append(l, history.Row{Seq: uint64(len(l) + 1), At: now.Add(-ago), Type: sallyport.EventDecided, Who: who, Action: a, On: on, Outcome: outcome})
	}
	did("service:trainer", sallyport.ModelPull, "acme/open@v1", "allow", 40*24*time.Hour)
	for range 3 {
		did("service:trainer", sallyport.ModelPush, "acme/open@v1", "allow", time.Hour)
	}
	did("service:trainer", sallyport.ModelPush, "acme/open@v2", "allow", time.Minute)
	did("service:trainer", sallyport.ModelRead, "acme/open@v1", "allow", time.Hour)
	did("service:trainer", sallyport.ModelPush, "acme/secret@v1", "deny", time.Hour)
	did("user:ana", sallyport.ModelInfer, "acme/secret@v1", "allow", time.Hour)
	a, err := usage.Look(t.Context(), l.find, w.Facts.Snapshot(), usage.Question{Who: "service:trainer", Since: now.Add(-30 * 24 * time.Hour), Now: now})
	if err != nil || !a.Complete {
		t.Fatalf("%+v, %v", a, err)
	}
	if len(a.Used) != 2 || a.Used[0].Action != sallyport.ModelPush || a.Used[0].Resource != "acme/open" || a.Used[0].Times != 4 || !a.Used[0].Last.Equal(now.Add(-time.Minute)) {
		t.Errorf("used %+v", a.Used)
	}
	has := func(action sallyport.Action, on string) bool {
		return slices.Contains(a.Unused, usage.Right{Action: action, Resource: on})
	}
	if !has(sallyport.ModelPush, "acme/secret") || !has(sallyport.ModelInfer, "acme/open") || has(sallyport.ModelPush, "acme/open") || has(sallyport.ModelPull, "acme/open") {
		t.Errorf("unused %+v", a.Unused)
	}
	for _, v := range a.Advice {
		if v.Unused || fmt.Sprint(v.Narrower) != "[acme/open]" {
			t.Errorf("advice %+v", v)
		}
	}
	if len(a.Advice) != 2 {
		t.Errorf("%d pieces of advice", len(a.Advice))
	}
}

// The proposed policy compiles, and permits what was used and nothing else.
func TestProposalIsEnough(t *testing.T) {
	w := world(t)
	now := w.Clock.Now()
	l := log{{Seq: 1, At: now, Type: sallyport.EventDecided, Who: "service:trainer", Action: sallyport.ModelPush, On: "acme/open@v1", Outcome: "allow"},
		{Seq: 2, At: now, Type: sallyport.EventDecided, Who: "service:trainer", Action: sallyport.ServerRead, On: "system", Outcome: "allow"}}
	a, err := usage.Look(t.Context(), l.find, w.Facts.Snapshot(), usage.Question{Who: "service:trainer", Since: now.Add(-time.Hour), Now: now.Add(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	w.Rules(a.Policy)
	again, err := usage.Look(t.Context(), l.find, w.Facts.Snapshot(), usage.Question{Who: "service:trainer", Since: now.Add(-time.Hour), Now: now.Add(time.Second)})
	if err != nil || len(again.Unused) != 0 || len(again.Used) != 2 {
		t.Errorf("under the proposal: unused %v, used %v, %v\n%s", again.Unused, again.Used, err, a.Policy)
	}
	if !strings.Contains(a.Policy, `resource in Model::"acme/open"`) || !strings.Contains(a.Policy, `resource in System::"sallyport"`) {
		t.Errorf("proposal\n%s", a.Policy)
	}
}

func TestNothingUsed(t *testing.T) {
	w := world(t)
	now := w.Clock.Now()
	a, err := usage.Look(t.Context(), log{}.find, w.Facts.Snapshot(), usage.Question{Who: "service:trainer", Since: now.Add(-time.Hour), Now: now})
	if err != nil || len(a.Used) != 0 || a.Policy != "" || len(a.Advice) != 2 || !a.Advice[0].Unused || !a.Advice[1].Unused {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := usage.Look(t.Context(), log{}.find, w.Facts.Snapshot(), usage.Question{Who: "service:none", Since: now, Now: now}); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("nobody: %v", err)
	}
}

// Much is read in parts; more than can be read is said to be.
func TestMuchIsReadInParts(t *testing.T) {
	w := world(t)
	now := w.Clock.Now()
	var l log
	for i := range 2*history.MaxRows + 1 {
		l = append(l, history.Row{Seq: uint64(i + 1), At: now, Type: sallyport.EventDecided, Who: "service:trainer", Action: sallyport.ModelRead, On: "acme/open@v1", Outcome: "allow"})
	}
	a, err := usage.Look(t.Context(), l.find, w.Facts.Snapshot(), usage.Question{Who: "service:trainer", Since: now.Add(-time.Hour), Now: now})
	if err != nil || !a.Complete || a.Used[0].Times != 2*history.MaxRows+1 {
		t.Errorf("%d times, complete %v, %v", a.Used[0].Times, a.Complete, err)
	}
	endless := func(_ context.Context, q history.Query) ([]history.Row, error) {
		return slices.Repeat(l[:1], q.Most), nil
	}
	if a, err = usage.Look(t.Context(), endless, w.Facts.Snapshot(), usage.Question{Who: "service:trainer", Since: now.Add(-time.Hour), Now: now}); err != nil || a.Complete {
		t.Errorf("an endless log: complete %v, %v", a.Complete, err)
	}
}
