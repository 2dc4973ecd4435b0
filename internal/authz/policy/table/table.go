// Package table owns tests of policies as text: tables of who may do what, one
// question a line with its expected outcome and reasons, asked of a policy set over
// an organisation.
//
// It leaves the organisation to authz/policy/cast and deciding to authz/decision.
//
// # Format
//
// Lines that are empty or begin with "#" are passed over. A row has seven columns,
// separated by "|":
//
//	who | assurance | action | resource | outcome | reasons | given
//
// Who is "ana", "user:ana", "service:trainer" or "agent:helper"; the assurance is
// "none", "aal1", "aal2", "phr" or "aal3"; the outcome "allow", "deny", "step-up"
// or "hold". Reasons are ids of policies and rules, sorted, separated by spaces.
// Given changes the facts, several separated by commas:
//
//	granted                     a grant covers the action
//	at 15:04                    the time of the question, UTC; noon of a Wednesday otherwise
//	scope TEXT                  the scope of the token; everything otherwise
//	hold TARGET                 a hold bears on the call
//	stale DURATION              the age of the facts
//	bound                       the token's key was proved
//	risk NUMBER                 0 to 100
//	proved DURATION             since the last proof; a minute otherwise
//	device CLASS LEVEL AGE      "admin" or "standard", 1 to 3, "never" or since its report; "open" behind where its disk is not encrypted
//	trained DURATION            since the last training; never otherwise
//	to ENVIRONMENT              where it is promoted to or deployed; the next one, and its own, otherwise
//	by PRINCIPAL                who acts on behalf of who
package table

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
)

// Limits on what is read.
const (
	MaxFile = 4 << 20 // bytes of one table
	MaxRows = 50_000  // of one table
	maxLine = 4 << 10
)

// noon is when questions are asked, unless they say "at".
func noon() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

// A Row is one question and its expected answer.
type Row struct {
	At                    string // file and line
	Who, Action, Resource string
	Assurance             sallyport.Assurance
	Outcome               sallyport.Outcome
	Reasons               []string
	Given                 []string
}

// Parse reads a table. Errors are of kind Invalid or TooLarge and name the line.
func Parse(name, text string) ([]Row, error) {
	const op = "read test table"
	if len(text) > MaxFile {
		return nil, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%s has more than %d bytes", name, MaxFile), "split it")
	}
	var rows []Row
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		at := fmt.Sprintf("%s:%d", name, number)
		r, err := ParseRow(line)
		if err != nil {
			return nil, sallyport.E(op, sallyport.Invalid, at+": "+sallyport.OneLine(err.Error()), "write: who | assurance | action | resource | outcome | reasons | given")
		}
		if r.At = at; len(rows) == MaxRows {
			return nil, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%s has more than %d rows", name, MaxRows), "split it")
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// ParseRow reads one row.
func ParseRow(line string) (Row, error) {
	if len(line) > maxLine {
		return Row{}, fmt.Errorf("the line has more than %d bytes", maxLine)
	}
	cells := strings.Split(line, "|")
	if len(cells) != 7 {
		return Row{}, fmt.Errorf("%d columns, want 7", len(cells))
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	r := Row{Who: cells[0], Action: cells[2], Resource: cells[3], Reasons: strings.Fields(cells[5])}
	for g := range strings.SplitSeq(cells[6], ",") {
		if g = strings.TrimSpace(g); g != "" {
			r.Given = append(r.Given, g)
		}
	}
	var err error
	if r.Assurance, err = sallyport.ParseAssurance(cells[1]); err != nil {
		return r, err
	}
	if r.Outcome, err = sallyport.ParseOutcome(cells[4]); err != nil {
		return r, err
	}
	if _, err = sallyport.ParseAction(r.Action); err != nil {
		return r, err
	}
	return r, Given(r.Given, new(decision.Basis), &decision.Question{At: noon()})
}

// Given changes facts as the last column of a row says.
func Given(given []string, b *decision.Basis, q *decision.Question) error {
	for _, g := range given {
		if err := apply(g, b, q); err != nil {
			return fmt.Errorf("given %q: %w", g, err)
		}
	}
	return nil
}

func apply(given string, b *decision.Basis, q *decision.Question) error {
	what, value, _ := strings.Cut(given, " ")
	if text := map[string]*string{"for": &q.Purpose, "network": &q.Network, "country": &q.Country}[what]; text != nil {
		*text = value
		return nil
	}
	ages := map[string]func(time.Duration){"stale": func(d time.Duration) { q.Staleness = d },
		"proved": func(d time.Duration) { q.AuthTime = q.At.Add(-d) }, "trained": func(d time.Duration) { q.Trained = q.At.Add(-d) }}
	if set := ages[what]; set != nil {
		age, err := time.ParseDuration(value)
		set(age)
		return err
	}
	switch what {
	case "granted":
		b.Grants = append(b.Grants, decision.Grant{ID: "g1", Actions: []sallyport.Action{q.Action}, From: q.At.Add(-time.Hour), Until: q.At.Add(time.Hour)})
	case "at":
		clock, err := time.Parse("15:04", value)
		if err != nil {
			return err
		}
		day := noon()
		q.At = time.Date(day.Year(), day.Month(), day.Day(), clock.Hour(), clock.Minute(), 0, 0, time.UTC)
		q.AuthTime = q.At.Add(-time.Minute)
	case "scope":
		scope, err := sallyport.ParseScope(value)
		q.Scope = scope
		return err
	case "hold":
		b.Holds = append(b.Holds, decision.Hold{ID: "h1", Target: value})
	case "probation":
		b.Probation = append(b.Probation, decision.Probation{ID: "h1", Target: value, Until: q.At.AddDate(1, 0, 0)})
	case "bound":
		q.Bound = true
	case "risk":
		risk, err := strconv.Atoi(value)
		q.Risk = risk
		return err
	case "device":
		d, err := parseDevice(value)
		q.Device = d
		return err
	case "role":
		return give(b, value)
	case "to":
		to, err := sallyport.ParseEnvironment(value)
		q.To = to
		return err
	case "working":
		q.Working = true
	case "history":
		return history(value, &q.History)
	case "by":
		q.Actors = append(q.Actors, sallyport.PrincipalID(value))
	default:
		return fmt.Errorf("it is not understood")
	}
	return nil
}

// give adds a role to the principal's.
func give(b *decision.Basis, name string) error {
	role := policy.UID{Type: "Role", ID: name}
	if b.Principal == (policy.UID{}) {
		return nil // a row that is only read
	}
	has := false
	for i := range b.Entities {
		e := &b.Entities[i]
		if e.UID == b.Principal {
			e.Parents = append(slices.Clone(e.Parents), role)
		}
		has = has || e.UID == role
	}
	if !has {
		b.Entities = append(b.Entities, policy.Entity{UID: role})
	}
	return nil
}

// history reads WINDOW COUNT NUMBER, such as "day models 31".
func history(s string, h *policy.History) error {
	f := strings.Fields(s)
	if len(f) != 3 {
		return fmt.Errorf("write WINDOW COUNT NUMBER")
	}
	w := map[string]*policy.Window{"short": &h.Short, "day": &h.Day, "month": &h.Month}[f[0]]
	if w == nil {
		return fmt.Errorf("%q is none of short, day and month", f[0])
	}
	into := map[string]*int64{"bytes": &w.Bytes, "denials": &w.Denials, "models": &w.Models, "exports": &w.Exports}[f[1]]
	if into == nil {
		return fmt.Errorf("%q is none of bytes, denials, models and exports", f[1])
	}
	var err error
	*into, err = strconv.ParseInt(f[2], 10, 64)
	return err
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

// Facts are what a row asks of an engine's policies.
func (r Row) Facts(e policy.Engine, c *cast.Cast) (decision.Facts, error) {
	b, err := c.Basis(r.Who, r.Resource)
	if err != nil {
		return decision.Facts{}, err
	}
	q := decision.Question{Action: sallyport.Action(r.Action), At: noon(), Door: "test", IP: "127.0.0.1", Scope: sallyport.Scope{"*"},
		Assurance: r.Assurance, AuthTime: noon().Add(-time.Minute), Session: "s1", Family: "f1"}
	q.To = b.Resource.Toward(q.Action)
	if b.Principal.Type != "User" {
		q.Session = ""
	}
	if err := Given(r.Given, b, &q); err != nil {
		return decision.Facts{}, err
	}
	f := decision.Facts{Question: q}
	if f.Basis, err = decision.Prepare(e, b); err != nil {
		return f, err
	}
	for _, actor := range q.Actors {
		a, err := c.Basis(string(actor), r.Resource)
		if err == nil {
			a, err = decision.Prepare(e, a)
		}
		if err != nil {
			return f, err
		}
		f.Acting = append(f.Acting, a)
	}
	return f, nil
}

// A Result is what became of a row.
type Result struct {
	Row
	Got  sallyport.Decision
	Err  error // the row cannot be asked
	Pass bool
}

// Run asks every row.
func Run(e policy.Engine, c *cast.Cast, rows []Row) []Result {
	results := make([]Result, 0, len(rows))
	for _, r := range rows {
		x := Result{Row: r}
		var f decision.Facts
		if f, x.Err = r.Facts(e, c); x.Err == nil {
			x.Got = decision.Decide(e, f)
			x.Pass = x.Got.Outcome == r.Outcome && slices.Equal(x.Got.ReasonIDs(), r.Reasons) && len(x.Got.Errors) == 0
		}
		results = append(results, x)
	}
	return results
}
