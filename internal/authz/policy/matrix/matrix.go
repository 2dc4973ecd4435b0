// Package matrix owns the access matrix as a text of its own: one line for each person, resource and action, in one order,
// so that two of them can be compared line by line and one of them signed.
//
// It leaves computing a living matrix to authz/whatif, and signing to whoever has the key.
package matrix

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
)

// A Matrix is who may do what under one policy set.
type Matrix struct {
	Policy string
	At     time.Time
	cells  map[key]string
}

// key is one cell's place.
type key struct{ who, resource, action string }

// header begins the text: no other signed text of Sallyport begins so.
const header = "sallyport matrix 1"

// Limits on a text.
const (
	MaxText  = 64 << 20
	maxCells = 1_000_000
)

// New returns an empty matrix.
func New(policy string, at time.Time) *Matrix {
	return &Matrix{Policy: policy, At: at.UTC().Truncate(time.Second), cells: map[key]string{}}
}

// Set writes a cell. Tabs and line breaks cannot stand in any part.
func (m *Matrix) Set(who sallyport.PrincipalID, resource string, action sallyport.Action, cell string) {
	m.cells[key{plain(string(who)), plain(resource), plain(string(action))}] = plain(cell)
}

// plain keeps a part on its line and in its column.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// Of asks for everybody of an organisation on everything in it, proved by two factors at noon of a working day.
func Of(e policy.Lister, c *cast.Cast) (*Matrix, error) {
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	m := New(e.Version(), at)
	actions := e.Applies()
	for _, who := range c.Principals() {
		if who.Kind() == sallyport.Agent {
			continue // they do nothing alone
		}
		for _, resource := range c.Resources() {
			b, err := c.Basis(string(who), resource)
			if err != nil {
				return nil, err
			}
			over, err := e.Load(b.Entities)
			if err != nil {
				return nil, fmt.Errorf("%s on %s: %w", who, resource, err)
			}
			for action, to := range actions {
				if !slices.Contains(to.Principals, b.Principal.Type) || !slices.Contains(to.Resources, b.ResourceUID.Type) {
					continue
				}
				q := policy.Query{Principal: b.Principal, Action: policy.UID{Type: "Action", ID: action}, Resource: b.ResourceUID,
					Context: policy.Context{Now: at, Assurance: sallyport.MultiFactor, AuthAge: 60, Session: who.Kind() == sallyport.User, Door: "matrix", Working: true, Device: policy.Device{Posture: policy.NoPosture}}}
				d := decision.Combine(e, e.Evaluate(q, over))
				if !b.Active {
					d.Outcome = sallyport.Deny
				}
				m.Set(who, resource, sallyport.Action(action), d.Outcome.String())
			}
		}
	}
	return m, nil
}

// Text is the one text of a matrix: a header, the policy set's version, the time, and a line WHO, RESOURCE, ACTION, CELL with
// tabs between, sorted.
func (m *Matrix) Text() string {
	lines := make([]string, 0, len(m.cells))
	for k, cell := range m.cells {
		lines = append(lines, strings.Join([]string{k.who, k.resource, k.action, cell}, "\t"))
	}
	slices.Sort(lines)
	return strings.Join(append([]string{header, m.Policy, m.At.Format(time.RFC3339)}, lines...), "\n") + "\n"
}

// Parse reads what Text wrote and nothing else.
func Parse(text string) (*Matrix, error) {
	const op = "read matrix"
	bad := func(line int, what string) error {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("line %d: %s", line, what), "it comes from 'sallyport matrix --format signed'")
	}
	if len(text) > MaxText {
		return nil, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("more than %d bytes", MaxText), "")
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] != header || lines[len(lines)-1] != "" || len(lines) > maxCells {
		return nil, bad(1, "it is no matrix")
	}
	at, err := time.Parse(time.RFC3339, lines[2])
	if err != nil {
		return nil, bad(3, "it is no time")
	}
	m := New(lines[1], at)
	for i, l := range lines[3 : len(lines)-1] {
		cells := strings.Split(l, "\t")
		if len(cells) != 4 {
			return nil, bad(i+4, "it has no four columns")
		}
		m.Set(sallyport.PrincipalID(cells[0]), cells[1], sallyport.Action(cells[2]), cells[3])
	}
	if m.Text() != text {
		return nil, bad(1, "it is not in its one order")
	}
	return m, nil
}

// Statement is what is signed: the header, the policy set's version, the time, and the SHA-256 of the text. A signed note
// has at most a megabyte, and a matrix may have more.
func (m *Matrix) Statement() string {
	return strings.Join([]string{header, m.Policy, m.At.Format(time.RFC3339), fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(m.Text())))}, "\n") + "\n"
}

// File is a matrix below its signed statement.
func (m *Matrix) File(note []byte) string { return string(note) + "\n" + m.Text() }

// ReadFile reads what File wrote: the signed statement, which is still to be verified against Statement, and the matrix.
func ReadFile(text string) (note string, m *Matrix, err error) {
	note, body, found := strings.Cut(text, "\n\n"+header+"\n")
	if !found {
		return "", nil, sallyport.E("read matrix", sallyport.Invalid, "it has no signature", "it comes from 'sallyport matrix --format signed'")
	}
	m, err = Parse(header + "\n" + body)
	return note + "\n", m, err
}

// A Change is a cell that differs.
type Change struct {
	Who      string `json:"who"`
	Resource string `json:"resource"`
	Action   string `json:"action"`
	From     string `json:"from"` // "-" where there was none
	To       string `json:"to"`
	Wider    bool   `json:"wider"`
}

// Diff lists the cells in which next differs, the wider ones first.
func Diff(old, next *Matrix) []Change {
	all := map[key]bool{}
	for k := range old.cells {
		all[k] = true
	}
	for k := range next.cells {
		all[k] = true
	}
	order := func(a, b key) int {
		return strings.Compare(a.who+"\t"+a.resource+"\t"+a.action, b.who+"\t"+b.resource+"\t"+b.action)
	}
	out := []Change{}
	for _, k := range slices.SortedFunc(maps.Keys(all), order) {
		from, to := "-", "-"
		if c, ok := old.cells[k]; ok {
			from = c
		}
		if c, ok := next.cells[k]; ok {
			to = c
		}
		if from != to {
			out = append(out, Change{k.who, k.resource, k.action, from, to, nearness(to) > nearness(from)})
		}
	}
	slices.SortStableFunc(out, func(a, b Change) int {
		return map[bool]int{true: 0, false: 1}[a.Wider] - map[bool]int{true: 0, false: 1}[b.Wider]
	})
	return out
}

// nearness orders cells by how near they are to allowed.
func nearness(cell string) int {
	return slices.Index([]string{"-", "deny", "hold", "request", "device", "step-up", "allow"}, cell)
}
