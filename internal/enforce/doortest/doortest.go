// Package doortest owns the one corpus that every door answers alike: questions of who may do what on what under which
// circumstances, asked of an organisation with its policies, with the outcomes that they have.
//
// A door's test makes a World, arranges each case in it, sends the case over the door's own wire, and compares: Run does
// so. The guard's own answers are the reference: TestTheGuard holds them against the corpus. What a door's protocol
// cannot say (a proof of possession, an actor) its test leaves out by name, and is counted.
//
// It is test support and leaves the organisation to authz/policy/cast, the questions' form to authz/policy/table and the
// guard around them to enforce/guard/guardtest.
package doortest

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/policy/cast"
	"sallyport/internal/authz/policy/table"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/guard/guardtest"
)

// A Case is one question with the outcome it has.
type Case struct {
	Name      string // where it stands, unique
	Who       sallyport.PrincipalID
	Actors    []sallyport.PrincipalID // who acts on behalf of Who, the present one first
	Assurance sallyport.Assurance
	Proved    time.Duration // since the last proof
	Action    sallyport.Action
	Resource  string // as sallyport.ParseRef reads it
	Scope     sallyport.Scope
	Purpose   string                // what the token was asked for
	To        sallyport.Environment // where it is promoted to or deployed; "" = as sallyport.Resource.Toward says
	Risk      int                   // of the session
	Granted   bool                  // a grant covers the action on the resource
	Hold      string                // the target of a hold, "" = none
	Outcome   sallyport.Outcome
	Hidden    bool // who asks may not know that the resource exists
}

// Session is the session of a case, "" for services.
func (c Case) Session() string {
	if c.Who.Kind() != sallyport.User {
		return ""
	}
	return "s1"
}

// Whole reports whether the token of the case covers everything, and the case can be carried by what names a principal
// instead of proving it.
func (c Case) Whole() bool { return slices.Equal(c.Scope, sallyport.Scope{"*"}) }

// Ref is what the case is about.
func (c Case) Ref(t testing.TB) sallyport.Ref {
	t.Helper()
	r, err := sallyport.ParseRef(c.Resource)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A World is the organisation with its policies behind a real guard, and the corpus about it.
type World struct {
	*guardtest.World
	Cases []Case
}

// New returns the world of an organisation: files holds acme.yaml, policies/*.cedar and decisions/*.txt as examples/acme
// has them. The clock stands at noon of a Wednesday.
func New(t testing.TB, files fs.FS) *World {
	t.Helper()
	o, err := organisation(files)
	if err != nil {
		t.Fatal(err)
	}
	w := &World{World: guardtest.New(t)}
	w.Clock.Add(noon().Sub(w.Clock.Now()))
	w.Become(o)
	rows, err := rowsOf(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if c, ok := caseOf(r); ok {
			w.Cases = append(w.Cases, c)
		}
	}
	w.Cases = append(w.Cases, more()...)
	for i := range w.Cases {
		w.Cases[i].To = w.toward(t, w.Cases[i])
		w.Arrange(w.Cases[i])
		w.Cases[i].Hidden = w.Answer(t, w.Cases[i]).Hidden
	}
	return w
}

// noon is when the questions are asked.
func noon() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

func rowsOf(files fs.FS) ([]table.Row, error) {
	names, err := fs.Glob(files, "decisions/*.txt")
	if err != nil {
		return nil, err
	}
	var rows []table.Row
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		more, err := table.Parse(path.Base(name), string(text))
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// caseOf is a row of a decision table as a case; ok is false where the row is about what no call brings about: another
// time of the day, old facts.
func caseOf(r table.Row) (c Case, ok bool) {
	c = Case{Name: r.At, Assurance: r.Assurance, Action: sallyport.Action(r.Action), Resource: r.Resource,
		Scope: sallyport.Scope{"*"}, Proved: time.Minute, Outcome: r.Outcome}
	var err error
	if c.Who, err = sallyport.ParsePrincipalID(r.Who); err != nil {
		return c, false
	}
	for _, g := range r.Given {
		what, value, _ := strings.Cut(g, " ")
		switch what {
		case "granted":
			c.Granted = true
		case "scope":
			c.Scope, err = sallyport.ParseScope(value)
		case "hold":
			c.Hold = value
		case "risk":
			c.Risk, err = strconv.Atoi(value)
		case "proved":
			c.Proved, err = time.ParseDuration(value)
		case "for":
			c.Purpose = value
		case "to":
			c.To = sallyport.Environment(value)
		case "by":
			c.Actors = append(c.Actors, sallyport.PrincipalID(value))
		default:
			return c, false
		}
		if err != nil {
			return c, false
		}
	}
	return c, c.Who.Kind() != sallyport.Agent
}

// more are questions that the tables of the organisation do not ask: about what is not there, or not known of.
func more() []Case {
	base := Case{Assurance: sallyport.PhishingResistant, Proved: time.Minute, Scope: sallyport.Scope{"*"}, Outcome: sallyport.Deny}
	var all []Case
	for i, x := range []struct {
		who      string
		action   sallyport.Action
		resource string
	}{
		{"user:ana", sallyport.ModelRead, "acme/nothing"},
		{"user:ana", sallyport.ModelPull, "acme/fraud@v99"},
		{"user:eva", sallyport.ModelInfer, "other/model"},
		{"user:nora", sallyport.ModelRead, "acme/frontier-70b@v1"},
		{"user:nora", sallyport.DatasetRead, "dataset:acme/claims"},
		{"user:nora", sallyport.DatasetRead, "dataset:acme/none"},
		{"user:bo", sallyport.EndpointUse, "endpoint:acme/none"},
		{"service:server", sallyport.ModelPull, "acme/none@v1"},
	} {
		c := base
		c.Name, c.Who, c.Action, c.Resource = fmt.Sprintf("more:%d", i+1), sallyport.PrincipalID(x.who), x.action, x.resource
		all = append(all, c)
	}
	return all
}

// toward is where a case goes.
func (w *World) toward(t testing.TB, c Case) sallyport.Environment {
	x, _ := w.Facts.Snapshot().Resolve(c.Ref(t))
	return cmp.Or(c.To, x.Toward(c.Action))
}

// Arrange brings about the circumstances of a case, and ends those of any other.
func (w *World) Arrange(c Case) {
	var grants []grant.Grant
	if ref, err := sallyport.ParseRef(c.Resource); err == nil && c.Granted {
		now := w.Clock.Now()
		grants = []grant.Grant{{ID: "G-1", Principal: c.Who, Person: w.Person(c.Who), Actions: []sallyport.Action{c.Action},
			Ref: ref, From: now.Add(-time.Hour), Until: now.Add(time.Hour)}}
	}
	var holds []string
	if c.Hold != "" {
		holds = []string{c.Hold}
	}
	w.Give(grants, holds, map[string]int{"s1": c.Risk})
}

// Principal is whom the case's token proves, for World.Issue.
func (w *World) Principal(c Case, audience string) sallyport.Principal {
	now := w.Clock.Now()
	return sallyport.Principal{ID: c.Who, Person: w.Person(c.Who), Actors: c.Actors, Session: c.Session(), Family: "f1", Audience: audience,
		Scope: c.Scope, Purpose: c.Purpose, Assurance: c.Assurance, AuthTime: now.Add(-c.Proved), Expires: now.Add(time.Hour)}
}

// Answer is the reference: what the guard says of a case that was arranged, to who proves everything.
func (w *World) Answer(t testing.TB, c Case) guard.Answer {
	t.Helper()
	call := guard.Call{Door: "doortest", Action: c.Action, Target: c.Ref(t), To: w.toward(t, c), IP: "127.0.0.1", Proof: guard.Proof{IP: "127.0.0.1"}}
	call.Proof.Bearer = bearer(w.Issue(w.Principal(c, "doortest")))
	call.CarryOut = sallyport.ObligationKinds()
	a, err := w.Guard.Check(t.Context(), call)
	if sallyport.KindOf(err) == sallyport.Unknown {
		a.Outcome = sallyport.Deny // nobody who may act at all
	} else if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	if a.Permit != nil {
		if err := a.Permit.Done(sallyport.Delivered{}); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// Said is what a door has answered.
type Said struct {
	Allowed bool
	// StepUp and Held tell refusals apart, where the door's protocol does; a protocol that does not leaves Plain set.
	StepUp, Held, Plain bool
}

// Of is what a door must say of an outcome. Of what one may not know of, no refusal says more than that.
func Of(o sallyport.Outcome, hidden bool) Said {
	if hidden {
		o = sallyport.Deny
	}
	return Said{Allowed: o == sallyport.Allow, StepUp: o == sallyport.StepUp, Held: o == sallyport.Hold}
}

// Run sends every case that a door can carry and compares. It returns how many were sent; carries names why one is left
// out, "" where it is not.
func Run(t *testing.T, w *World, carries func(Case) string, ask func(testing.TB, Case) Said) (sent int) {
	t.Helper()
	left := map[string]int{}
	for _, c := range w.Cases {
		if why := carries(c); why != "" {
			left[why]++
			continue
		}
		w.Arrange(c)
		got, want := ask(t, c), Of(c.Outcome, c.Hidden)
		if got.Plain {
			want = Said{Allowed: want.Allowed, Plain: true}
		}
		if got != want {
			t.Errorf("%s: %s %s on %s: the door says %+v, want %+v", c.Name, c.Who, c.Action, c.Resource, got, want)
		}
		sent++
	}
	t.Logf("%d of %d cases sent; left out: %v", sent, len(w.Cases), left)
	return sent
}

func organisation(files fs.FS) (guardtest.Organisation, error) {
	text, err := fs.ReadFile(files, "acme.yaml")
	if err != nil {
		return guardtest.Organisation{}, err
	}
	c, err := cast.Parse(text)
	if err != nil {
		return guardtest.Organisation{}, err
	}
	o := guardtest.Organisation{People: people(c), Roles: roles(c), Catalog: things(c)}
	o.Engine, err = engine(files)
	return o, err
}
