package acme_test

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
)

// noon is when the questions of the tables are asked, unless they say "at".
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// engine compiles the policies of acme, and those of further directories.
func engine(t testing.TB, more ...string) *cedar.Engine {
	t.Helper()
	src := policy.Source{Schema: cedar.Schema, Policies: map[string]string{}}
	for _, dir := range append([]string{"policies"}, more...) {
		files, err := fs.Glob(acme.Files, dir+"/*.cedar")
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
	}
	e, err := cedar.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// row is one line of a decision table.
type row struct {
	at                    string // file and line
	who, action, resource string
	assurance             sallyport.Assurance
	outcome               sallyport.Outcome
	reasons               []string
	given                 []string
}

// readRows reads the tables in a directory.
func readRows(t *testing.T, dir string) []row {
	t.Helper()
	files, err := fs.Glob(acme.Files, dir+"/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for _, name := range files {
		b, err := acme.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(b), "\n") {
			if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
				continue
			}
			r, err := parseRow(line)
			if err != nil {
				t.Fatalf("%s:%d: %v", name, i+1, err)
			}
			r.at = fmt.Sprintf("%s:%d", path.Base(name), i+1)
			rows = append(rows, r)
		}
	}
	return rows
}

func parseRow(line string) (row, error) {
	cells := strings.Split(line, "|")
	if len(cells) != 7 {
		return row{}, fmt.Errorf("%d columns, want 7", len(cells))
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	r := row{who: cells[0], action: cells[2], resource: cells[3], reasons: strings.Fields(cells[5])}
	for g := range strings.SplitSeq(cells[6], ",") {
		if g = strings.TrimSpace(g); g != "" {
			r.given = append(r.given, g)
		}
	}
	var err error
	if r.assurance, err = sallyport.ParseAssurance(cells[1]); err != nil {
		return r, err
	}
	if r.outcome, err = sallyport.ParseOutcome(cells[4]); err != nil {
		return r, err
	}
	_, err = sallyport.ParseAction(r.action)
	return r, err
}

// apply changes the facts as the last column says.
func apply(given string, b *decision.Basis, q *decision.Question) error {
	what, value, _ := strings.Cut(given, " ")
	switch what {
	case "granted":
		b.Grants = append(b.Grants, decision.Grant{ID: "g1", Actions: []sallyport.Action{q.Action}, From: q.At.Add(-time.Hour), Until: q.At.Add(time.Hour)})
	case "at":
		clock, err := time.Parse("15:04", value)
		if err != nil {
			return err
		}
		q.At = time.Date(noon.Year(), noon.Month(), noon.Day(), clock.Hour(), clock.Minute(), 0, 0, time.UTC)
		q.AuthTime = q.At.Add(-time.Minute)
	case "scope":
		scope, err := sallyport.ParseScope(value)
		q.Scope = scope
		return err
	case "hold":
		b.Holds = append(b.Holds, decision.Hold{ID: "h1", Target: value})
	case "stale":
		age, err := time.ParseDuration(value)
		q.Staleness = age
		return err
	case "bound":
		q.Bound = true
	case "risk":
		risk, err := strconv.Atoi(value)
		q.Risk = risk
		return err
	case "proved":
		age, err := time.ParseDuration(value)
		q.AuthTime = q.At.Add(-age)
		return err
	case "device":
		d, err := parseDevice(value)
		q.Device = d
		return err
	case "by":
		q.Actors = append(q.Actors, sallyport.PrincipalID(value))
	default:
		return fmt.Errorf("%q is not understood", given)
	}
	return nil
}

// parseDevice reads CLASS LEVEL AGE, the age "never" or a duration, with "open" behind where its disk is not encrypted.
func parseDevice(s string) (decision.Device, error) {
	f := strings.Fields(s)
	if len(f) < 3 {
		return decision.Device{}, fmt.Errorf("the device %q has no class, level and age", s)
	}
	level, err := strconv.Atoi(f[1])
	d := decision.Device{ID: "DV-1", Class: f[0], Level: level, Posture: -time.Second, OS: "linux 6.1", Encrypted: len(f) == 3, Locked: true, Patched: true}
	if f[2] == "never" || err != nil {
		return d, err
	}
	d.Posture, err = time.ParseDuration(f[2])
	return d, err
}

// facts are what a row asks.
func (r row) facts(t *testing.T, e policy.Engine, w *world) decision.Facts {
	t.Helper()
	b, err := w.basis(r.who, r.resource)
	if err != nil {
		t.Fatalf("%s: %v", r.at, err)
	}
	q := decision.Question{Action: sallyport.Action(r.action), At: noon, Door: "test", IP: "127.0.0.1", Scope: sallyport.Scope{"*"},
		Assurance: r.assurance, AuthTime: noon.Add(-time.Minute), Session: "s1", Family: "f1"}
	if b.Principal.Type != "User" {
		q.Session = ""
	}
	for _, g := range r.given {
		if err := apply(g, b, &q); err != nil {
			t.Fatalf("%s: %v", r.at, err)
		}
	}
	p, err := decision.Prepare(e, b)
	if err != nil {
		t.Fatalf("%s: %v", r.at, err)
	}
	f := decision.Facts{Basis: p, Question: q}
	for _, actor := range q.Actors {
		a, err := w.basis(string(actor), r.resource)
		if err == nil {
			a, err = decision.Prepare(e, a)
		}
		if err != nil {
			t.Fatalf("%s: %v", r.at, err)
		}
		f.Acting = append(f.Acting, a)
	}
	return f
}

// TestDecisions asks every row of the tables, and again from the recorded text.
func TestDecisions(t *testing.T) {
	e := engine(t)
	used := asked(t, e, "decisions", 60)
	for _, p := range e.Policies() {
		if !used[p.ID] {
			t.Errorf("policy %s decides no row", p.ID)
		}
	}
}

// TestStrict asks the rows of what changes when the strict policies are turned on: DV-2, DV-5, ID-3.
func TestStrict(t *testing.T) {
	plain, strict := engine(t), engine(t, "strict")
	used := asked(t, strict, "strict", 25)
	for _, p := range strict.Policies() {
		if _, before := plain.Info(p.ID); !before && !used[p.ID] {
			t.Errorf("policy %s decides no row", p.ID)
		}
	}
}

// asked asks the rows of a directory's tables, and returns the ids of the reasons.
func asked(t *testing.T, e *cedar.Engine, dir string, least int) map[string]bool {
	t.Helper()
	w, err := load()
	if err != nil {
		t.Fatal(err)
	}
	rows := readRows(t, dir)
	if len(rows) < least {
		t.Errorf("%d rows, want at least %d", len(rows), least)
	}
	used := map[string]bool{}
	counts := map[sallyport.Outcome]int{}
	for _, r := range rows {
		f := r.facts(t, e, w)
		d := decision.Decide(e, f)
		if d.Outcome != r.outcome || !slices.Equal(d.ReasonIDs(), r.reasons) || len(d.Errors) > 0 {
			t.Errorf("%s: %s %s %s (%v): %v because of %q, errors %q; want %v because of %q",
				r.at, r.who, r.action, r.resource, r.assurance, d.Outcome, d.ReasonIDs(), d.Errors, r.outcome, r.reasons)
		}
		if d.Outcome != sallyport.Allow && len(d.Remedies) == 0 && !slices.Contains(d.ReasonIDs(), decision.FactsStale) {
			t.Errorf("%s: refused without a remedy", r.at)
		}
		text, err := decision.Marshal(f.Basis)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decision.Replay(e, text, f.Question, texts(t, f.Acting)...); err != nil || !decision.Same(d, again) {
			t.Errorf("%s: replayed %+v, error %v, want %+v", r.at, again, err, d)
		}
		counts[d.Outcome]++
		for _, id := range d.ReasonIDs() {
			used[id] = true
		}
	}
	t.Logf("%d rows: %d allow, %d deny, %d step-up, %d hold; %d policies", len(rows),
		counts[sallyport.Allow], counts[sallyport.Deny], counts[sallyport.StepUp], counts[sallyport.Hold], len(e.Policies()))
	return used
}

// texts are the recorded texts of bases.
func texts(t *testing.T, all []*decision.Basis) [][]byte {
	t.Helper()
	var list [][]byte
	for _, b := range all {
		text, err := decision.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, text)
	}
	return list
}

// TestPolicies holds the set to its own habits: texts that people can read and
// requirements that exist.
func TestPolicies(t *testing.T) {
	e := engine(t, "strict")
	last := map[string]int{"ID": 14, "TK": 9, "DV": 5, "AZ": 20, "GV": 15, "EN": 9, "AU": 8, "MO": 8, "RE": 7, "DP": 5, "EV": 5, "UX": 5, "ME": 3, "RS": 4}
	id := regexp.MustCompile(`^([A-Z]{2})-([0-9]+)$`)
	for _, p := range e.Policies() {
		if !strings.HasSuffix(p.Annotations["text"], ".") {
			t.Errorf("%s: @text %q is no sentence", p.ID, p.Annotations["text"])
		}
		for _, r := range p.Requirements {
			m := id.FindStringSubmatch(r)
			if m == nil {
				t.Errorf("%s: requirement %q is no id", p.ID, r)
				continue
			}
			if n, err := strconv.Atoi(m[2]); err != nil || n < 1 || n > last[m[1]] {
				t.Errorf("%s: there is no requirement %s", p.ID, r)
			}
		}
	}
	t.Log(strings.Join(e.Warnings(), "\n"))
}

// TestLimit: what a developer downloads without a grant has a limit.
func TestLimit(t *testing.T) {
	e := engine(t)
	w, err := load()
	if err != nil {
		t.Fatal(err)
	}
	r := row{at: "limit", who: "tess", action: "model.pull", resource: "acme/base-7b@v2", assurance: sallyport.SingleFactor}
	d := decision.Decide(e, r.facts(t, e, w))
	if want := []sallyport.Obligation{{Kind: sallyport.LimitBytes, Value: 64 << 30}}; d.Outcome != sallyport.Allow || !slices.Equal(d.Obligations, want) {
		t.Errorf("%v with %v, want allow with %v", d.Outcome, d.Obligations, want)
	}
}

// TestRemedies are what people at acme read.
func TestRemedies(t *testing.T) {
	e := engine(t)
	w, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ who, action, resource, want string }{
		{"ana", "model.pull", "acme/fraud@v1", `step-up "sallyport login --assurance phr"; request "sallyport request model.pull acme/fraud@v1 --for 1h --why \"…\""`},
		{"oto", "model.deploy", "acme/fraud@v1", `step-up "sallyport login --assurance aal2"`},
		{"nora", "model.pull", "acme/base-7b@v2", `request "sallyport request model.pull acme/base-7b@v2 --for 1h --why \"…\""`},
		{"bo", "model.deploy", "acme/base-7b@v2", `ask ""`},
	} {
		r := row{at: "remedy", who: test.who, action: test.action, resource: test.resource, assurance: sallyport.SingleFactor}
		var got []string
		for _, m := range decision.Decide(e, r.facts(t, e, w)).Remedies {
			got = append(got, fmt.Sprintf("%s %q", m.Kind, m.Command))
		}
		if s := strings.Join(got, "; "); s != test.want {
			t.Errorf("%s %s %s: %s, want %s", test.who, test.action, test.resource, s, test.want)
		}
	}
}

// TestDV2TheRemedyOfAnUnmanagedDevice is what people at acme read under the strict policies.
func TestDV2TheRemedyOfAnUnmanagedDevice(t *testing.T) {
	e := engine(t, "strict")
	w, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ who, action, resource, given, want string }{
		{"ana", "model.pull", "acme/fraud@v1", "granted, bound", `device "sallyport device enroll"; step-up "sallyport login --assurance phr"`},
		{"ana", "model.pull", "acme/fraud@v1", "granted", `device "sallyport device enroll"; bind "sallyport run -- COMMAND"; step-up "sallyport login --assurance phr"`},
		{"ana", "model.pull", "acme/fraud@v1", "granted, bound, device standard 2 9h open", `device "sallyport agent"; step-up "sallyport login --assurance phr"`},
		{"adam", "identity.administer", "system", "bound", `device ""; step-up "sallyport login --assurance phr"`},
		{"bo", "model.pull", "acme/fraud@v1", "", `device "sallyport device enroll"; bind "sallyport run -- COMMAND"; step-up "sallyport login --assurance phr"; request "sallyport request model.pull acme/fraud@v1 --for 1h --why \"…\""`},
		{"bo", "model.deploy", "acme/base-7b@v2", "", `ask ""`},
	} {
		r := row{at: "remedy", who: test.who, action: test.action, resource: test.resource, assurance: sallyport.MultiFactor}
		if test.given != "" {
			r.given = strings.Split(test.given, ", ")
		}
		var got []string
		for _, m := range decision.Decide(e, r.facts(t, e, w)).Remedies {
			got = append(got, fmt.Sprintf("%s %q", m.Kind, m.Command))
		}
		if s := strings.Join(got, "; "); s != test.want {
			t.Errorf("%s %s %s: %s, want %s", test.who, test.action, test.resource, s, test.want)
		}
	}
}

// TestID14NoAgentHoldsAnything: what an agent of acme asks for itself is denied, whatever it is.
func TestID14NoAgentHoldsAnything(t *testing.T) {
	e := engine(t)
	w, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for name := range w.resources {
		for _, a := range sallyport.Actions() {
			r := row{at: "agent", who: "agent:helper", action: string(a), resource: name, assurance: sallyport.Hardware}
			if d := decision.Decide(e, r.facts(t, e, w)); d.Outcome != sallyport.Deny || !slices.Equal(d.ReasonIDs(), []string{decision.AgentAlone}) {
				t.Errorf("%s on %s: %v because of %q", a, name, d.Outcome, d.ReasonIDs())
			}
		}
	}
}

// TestNobodyHoldsItAll: no person may both propose and approve policies, nor may
// the same role make and release in production.
func TestNobodyHoldsItAll(t *testing.T) {
	e := engine(t)
	w, err := load()
	if err != nil {
		t.Fatal(err)
	}
	may := func(who string, action sallyport.Action, resource string) bool {
		r := row{who: who, action: string(action), resource: resource, assurance: sallyport.Hardware}
		return decision.Decide(e, r.facts(t, e, w)).Outcome == sallyport.Allow
	}
	pairs := []struct {
		one, other sallyport.Action
		on         string
	}{
		{sallyport.PolicyPropose, sallyport.PolicyApprove, "system"},
		{sallyport.PolicyApprove, sallyport.PolicyActivate, "system"},
		{sallyport.IdentityAdminister, sallyport.GrantApprove, "system"},
		{sallyport.ModelPush, sallyport.ModelDeploy, "acme/fraud@v1"},
		{sallyport.ModelPull, sallyport.GrantApprove, "acme/base-7b@v2"},
	}
	for _, p := range w.org.People {
		for _, pair := range pairs {
			if may(p.Name, pair.one, pair.on) && may(p.Name, pair.other, pair.on) {
				t.Errorf("%s may both %s and %s on %s", p.Name, pair.one, pair.other, pair.on)
			}
		}
	}
}

// TestDefaultIsNothing: somebody with no role and no group gets nothing but to ask.
func TestDefaultIsNothing(t *testing.T) {
	e := engine(t)
	w, err := load()
	if err != nil {
		t.Fatal(err)
	}
	w.add(uid("User", "new"), map[string]policy.Value{"name": text("new"), "person": entity(uid("User", "new"))})
	for name := range w.resources {
		for _, a := range sallyport.Actions() {
			r := row{at: "new", who: "new", action: string(a), resource: name, assurance: sallyport.Hardware}
			d := decision.Decide(e, r.facts(t, e, w))
			asking := a == sallyport.GrantRequest || a == sallyport.TokenIssue || name == "system" && (a == sallyport.ServerRead || a == sallyport.ModelList)
			if d.Outcome == sallyport.Allow && !asking {
				t.Errorf("%s on %s: allowed by %q", a, name, d.ReasonIDs())
			}
		}
	}
}
