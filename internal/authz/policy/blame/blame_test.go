package blame_test

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/blame"
	"sallyport/internal/authz/policy/cast"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/table"
)

func engine(t *testing.T, more string) *cedar.Engine {
	t.Helper()
	src := policy.Source{Schema: cedar.Schema, Policies: map[string]string{"more.cedar": more}}
	files, err := fs.Glob(acme.Files, "policies/*.cedar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := acme.Files.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		src.Policies[path.Base(f)] = string(b)
	}
	e, err := cedar.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// made is a decision on a row, over acme with an edit, as a log would hold it.
func made(t *testing.T, e policy.Engine, seq uint64, row string, edit ...string) blame.Decision {
	t.Helper()
	text, err := acme.Files.ReadFile("acme.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cast.Parse([]byte(strings.NewReplacer(edit...).Replace(string(text))))
	if err != nil {
		t.Fatal(err)
	}
	r, err := table.ParseRow(row)
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.Facts(e, c)
	if err != nil {
		t.Fatal(err)
	}
	basis, err := decision.Marshal(f.Basis)
	if err != nil {
		t.Fatal(err)
	}
	d := decision.Decide(e, f)
	return blame.Decision{Engine: e, Basis: basis, Logged: sallyport.Logged{Seq: seq, Event: sallyport.Event{Type: sallyport.EventDecided, At: f.At.UnixMicro(), Decision: "D-1", Who: f.PrincipalID, Action: f.Action,
		On: f.Resource.String(), Outcome: d.Outcome.String(), Facts: f.Hash(), Reasons: d.ReasonIDs(), Asked: f.Recorded()}}}
}

func event(seq uint64, kind sallyport.EventType, who sallyport.PrincipalID, on string, detail ...string) sallyport.Logged {
	x := sallyport.Event{Type: kind, Who: who, On: on, Detail: map[string]string{}}
	for i := 0; i+1 < len(detail); i += 2 {
		x.Detail[detail[i]] = detail[i+1]
	}
	return sallyport.Logged{Seq: seq, Event: x}
}

// GV-3: of each kind of change the part that alone made the difference is named, with the event, its author and approvers.
func TestGV3WhoChangedIt(t *testing.T) {
	const pull = "tess | aal2 | model.pull | acme/base-7b@v2 | allow | x |"
	e := engine(t, "")
	closed := engine(t, `@id("closed") @owner("o") @requirement("AZ-1") forbid (principal == User::"tess", action == Action::"model.pull", resource);`)
	trained := engine(t, `@id("trained") @owner("o") @requirement("ID-13") forbid (principal, action == Action::"model.pull", resource) unless { context.training <= 365 };`)
	for name, test := range map[string]struct {
		old, next blame.Decision
		part      string
		event     uint64
		author    sallyport.PrincipalID
	}{
		"policies": {made(t, e, 10, pull), made(t, closed, 30, pull), "policies", 13, "user:adam"},
		"a role":   {made(t, e, 10, pull), made(t, e, 30, pull, "to: [user:tess]\n    on: acme/base-7b", "to: [user:nora]\n    on: acme/base-7b"), "roles and groups", 14, ""},
		"a label":  {made(t, e, 10, pull), made(t, e, 30, pull, "project: language\n    class: internal\n    owners: [tess]", "project: language\n    class: restricted\n    owners: [tess]"), "resource", 15, ""},
		"a grant":  {made(t, e, 10, "tess | phr | model.pull | acme/frontier-70b@v1 | deny | x |"), made(t, e, 30, "tess | phr | model.pull | acme/frontier-70b@v1 | allow | x | granted"), "grants", 16, "user:tess"},
		"a hold":   {made(t, e, 10, pull), made(t, e, 30, "tess | aal2 | model.pull | acme/base-7b@v2 | hold | x | hold user:tess"), "holds", 17, ""},
		"proof":    {made(t, e, 10, "rita | aal1 | grant.approve | acme/fraud | step-up | x |"), made(t, e, 30, "rita | aal2 | grant.approve | acme/fraud | allow | x |"), "proof", 0, ""},
		"training": {made(t, trained, 10, pull+" trained 24h"), made(t, trained, 30, pull), "training", 18, ""},
		"risk":     {made(t, e, 10, pull), made(t, e, 30, "tess | aal1 | model.pull | acme/base-7b@v2 | step-up | x | risk 70, proved 2h"), "call", 0, ""},
	} {
		events := []sallyport.Logged{
			event(11, sallyport.EventPolicyProposed, "user:adam", closed.Version(), "request", "R-1", "why", "w", "commit", "c1"),
			event(12, sallyport.EventPolicyVoted, "user:rita", closed.Version(), "request", "R-1", "yes", "yes"),
			event(13, sallyport.EventPolicyActivated, "user:adam", closed.Version(), "request", "R-1", "why", "w"),
			event(14, sallyport.EventChanged, "user:adam", "user:tess", "what", "role taken away", "role", "model-developer"),
			event(15, sallyport.EventChanged, "user:rita", "acme/base-7b", "what", "label", "class", "restricted"),
			event(16, sallyport.EventGrantVoted, "user:rita", "acme/frontier-70b", "who", "user:tess", "grant", "g1", "request", "R-2", "yes", "yes"),
			event(17, sallyport.EventHoldPlaced, "user:rita", "user:tess"),
			event(18, sallyport.EventTrained, "user:adam", "user:tess", "what", "withdrawn", "why", "another Tess"),
			event(19, sallyport.EventTrained, "user:adam", "user:ana", "what", "withdrawn"),
		}
		events = append([]sallyport.Logged{event(9, sallyport.EventGrantRequested, "user:tess", "acme/frontier-70b", "request", "R-2", "why", "w")}, events...)
		causes, err := blame.Between(test.old, test.next, events)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		i := slices.IndexFunc(causes, func(c blame.Cause) bool { return c.Part == test.part })
		if i < 0 || len(causes[i].Changes) == 0 || name != "risk" && !causes[i].Alone {
			t.Errorf("%s: %+v", name, causes)
			continue
		}
		found := slices.IndexFunc(causes[i].Events, func(c blame.Change) bool { return c.Seq == test.event })
		if test.event != 0 && (found < 0 || causes[i].Events[found].Author != test.author) {
			t.Errorf("%s: events %+v", name, causes[i].Events)
		}
		for _, c := range causes {
			if c.Part != test.part && c.Alone && c.Part != "proof" {
				t.Errorf("%s: %s is blamed too: %+v", name, c.Part, c)
			}
		}
	}
	if _, err := blame.Between(made(t, e, 10, pull), made(t, e, 30, strings.Replace(pull, "tess", "ana", 1)), nil); err == nil {
		t.Error("two people are compared")
	}
	if same, err := blame.Between(made(t, e, 10, pull), made(t, e, 30, pull), nil); err != nil || len(same) != 0 {
		t.Errorf("the same: %+v, %v", same, err)
	}
}
