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

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/paths"
	"sallyport/internal/authz/policy/table"
)

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
type row = table.Row

// load reads acme.yaml.
func load() (*cast.Cast, error) {
	file, err := acme.Files.ReadFile("acme.yaml")
	if err != nil {
		return nil, err
	}
	return cast.Parse(file)
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
		more, err := table.Parse(path.Base(name), string(b))
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, more...)
	}
	return rows
}

// facts are what a row asks.
func facts(t *testing.T, r row, e policy.Engine, w *cast.Cast) decision.Facts {
	t.Helper()
	f, err := r.Facts(e, w)
	if err != nil {
		t.Fatalf("%s: %v", r.At, err)
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
		f := facts(t, r, e, w)
		d := decision.Decide(e, f)
		if d.Outcome != r.Outcome || !slices.Equal(d.ReasonIDs(), r.Reasons) || len(d.Errors) > 0 {
			t.Errorf("%s: %s %s %s (%v): %v because of %q, errors %q; want %v because of %q",
				r.At, r.Who, r.Action, r.Resource, r.Assurance, d.Outcome, d.ReasonIDs(), d.Errors, r.Outcome, r.Reasons)
		}
		if d.Outcome != sallyport.Allow && len(d.Remedies) == 0 && !slices.Contains(d.ReasonIDs(), decision.FactsStale) {
			t.Errorf("%s: refused without a remedy", r.At)
		}
		text, err := decision.Marshal(f.Basis)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decision.Replay(e, text, f.Question, texts(t, f.Acting)...); err != nil || !decision.Same(d, again) {
			t.Errorf("%s: replayed %+v, error %v, want %+v", r.At, again, err, d)
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
	r := row{At: "limit", Who: "tess", Action: "model.pull", Resource: "acme/base-7b@v2", Assurance: sallyport.SingleFactor}
	d := decision.Decide(e, facts(t, r, e, w))
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
		{"oto", "model.promote", "acme/fraud@v2", `step-up "sallyport login --assurance aal2"`},
		{"nora", "model.pull", "acme/base-7b@v2", `request "sallyport request model.pull acme/base-7b@v2 --for 1h --why \"…\""`},
		{"bo", "model.deploy", "acme/base-7b@v2", `ask ""`},
	} {
		r := row{At: "remedy", Who: test.who, Action: test.action, Resource: test.resource, Assurance: sallyport.SingleFactor}
		var got []string
		for _, m := range decision.Decide(e, facts(t, r, e, w)).Remedies {
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
		r := row{At: "remedy", Who: test.who, Action: test.action, Resource: test.resource, Assurance: sallyport.MultiFactor}
		if test.given != "" {
			r.Given = strings.Split(test.given, ", ")
		}
		var got []string
		for _, m := range decision.Decide(e, facts(t, r, e, w)).Remedies {
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
	for _, name := range w.Resources() {
		for _, a := range sallyport.Actions() {
			r := row{At: "agent", Who: "agent:helper", Action: string(a), Resource: name, Assurance: sallyport.Hardware}
			if d := decision.Decide(e, facts(t, r, e, w)); d.Outcome != sallyport.Deny || !slices.Equal(d.ReasonIDs(), []string{decision.AgentAlone}) {
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
		r := row{Who: who, Action: string(action), Resource: resource, Assurance: sallyport.Hardware}
		return decision.Decide(e, facts(t, r, e, w)).Outcome == sallyport.Allow
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
	for _, p := range w.Organisation.People {
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
	nobody := policy.UID{Type: "User", ID: "new"}
	w.Add(policy.Entity{UID: nobody, Attrs: map[string]policy.Value{"name": {Kind: policy.StringValue, String: "new"}, "person": {Kind: policy.EntityValue, Entity: nobody}}})
	for _, name := range w.Resources() {
		for _, a := range sallyport.Actions() {
			r := row{At: "new", Who: "new", Action: string(a), Resource: name, Assurance: sallyport.Hardware}
			d := decision.Decide(e, facts(t, r, e, w))
			asking := a == sallyport.GrantRequest || a == sallyport.TokenIssue || name == "system" && (a == sallyport.ServerRead || a == sallyport.ModelList)
			if d.Outcome == sallyport.Allow && !asking {
				t.Errorf("%s on %s: allowed by %q", a, name, d.ReasonIDs())
			}
		}
	}
}

// TestAZ17Paths: the chains that lead to the rights that matter are those that are declared.
func TestAZ17Paths(t *testing.T) {
	e := engine(t)
	w, err := load()
	if err != nil {
		t.Fatal(err)
	}
	text, err := acme.Files.ReadFile("paths.txt")
	if err != nil {
		t.Fatal(err)
	}
	declared, err := paths.Parse("paths.txt", string(text))
	if err != nil || len(declared) < 10 {
		t.Fatalf("%d rights, %v", len(declared), err)
	}
	different, err := paths.Compare(e, w, declared)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range different {
		t.Errorf("%s: undeclared %q, gone %q", d.Target, d.Undeclared, d.Gone)
	}
}
