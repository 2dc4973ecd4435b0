package decision

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// MaxBasis is how long the text of a basis may be, in bytes.
const MaxBasis = 4 << 20

// Prepare returns b in its canonical form, checked and loaded into engine, with
// its content hash; b itself stays as it is. Only a prepared basis is decided on.
// A basis without Policy gets the engine's version; one of another version is an
// error of kind Conflict, anything else that is wrong of kind Invalid.
func Prepare(engine policy.Engine, b *Basis) (*Basis, error) {
	const op = "prepare facts"
	if engine == nil || b == nil {
		return nil, sallyport.E(op, sallyport.Invalid, "no engine or no basis", "")
	}
	p := b.canonical()
	if p.Policy == "" {
		p.Policy = engine.Version()
	}
	if p.Policy != engine.Version() {
		return nil, sallyport.E(op, sallyport.Conflict, "the facts belong to another policy set: "+p.Policy, "gather them again")
	}
	text, err := Marshal(p)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	p.hash = base64.RawURLEncoding.EncodeToString(sum[:])
	if p.loaded, err = engine.Load(p.Entities); err != nil {
		return nil, err
	}
	return p, nil
}

// Hash is the content hash under which the basis is recorded: base64url without
// padding of the SHA-256 of Marshal's text, 43 characters; "" before Prepare.
func (b *Basis) Hash() string { return b.hash }

// canonical copies b with everything in its one order and form.
func (b *Basis) canonical() *Basis {
	c := *b
	c.hash, c.loaded = "", nil
	c.Entities = slices.Clone(b.Entities)
	for i := range c.Entities {
		e := &c.Entities[i]
		e.Parents = slices.Clone(e.Parents)
		slices.SortFunc(e.Parents, compareUID)
		e.Parents = slices.Compact(e.Parents)
	}
	slices.SortFunc(c.Entities, func(x, y policy.Entity) int { return compareUID(x.UID, y.UID) })
	c.Grants = slices.Clone(b.Grants)
	for i := range c.Grants {
		g := &c.Grants[i]
		g.Actions = slices.Clone(g.Actions)
		slices.Sort(g.Actions)
		g.From, g.Until = stamp(g.From), stamp(g.Until)
	}
	slices.SortFunc(c.Grants, func(x, y Grant) int { return cmp.Compare(x.ID, y.ID) })
	c.Holds = slices.Clone(b.Holds)
	for i := range c.Holds {
		if until := &c.Holds[i].Until; !until.IsZero() {
			*until = stamp(*until)
		}
	}
	slices.SortFunc(c.Holds, func(x, y Hold) int { return cmp.Compare(x.ID, y.ID) })
	c.Probation = slices.Clone(b.Probation)
	for i := range c.Probation {
		c.Probation[i].Until = stamp(c.Probation[i].Until)
	}
	slices.SortFunc(c.Probation, func(x, y Probation) int { return cmp.Compare(x.ID, y.ID) })
	return &c
}

// stamp is t as it is recorded: UTC, microseconds, no monotonic part.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func compareUID(a, b policy.UID) int {
	return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.ID, b.ID))
}

// Marshal writes the one text of a basis, JSON with sorted names.
func Marshal(b *Basis) ([]byte, error) {
	const op = "write facts"
	text, err := json.Marshal(b)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "the basis has no JSON form", err)
	}
	if len(text) > MaxBasis {
		return nil, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("the basis has more than %d bytes", MaxBasis), "")
	}
	// The encoder writes this escape only for bytes that are not UTF-8 (or, in a
	// name that nobody uses, for its own spelling): what is decided on and what is
	// recorded would differ.
	if bytes.Contains(text, []byte(`\ufffd`)) {
		return nil, sallyport.E(op, sallyport.Invalid, "a text of the basis is not valid UTF-8", "")
	}
	return text, nil
}

// Unmarshal reads what Marshal wrote and nothing else: another order, spelling or
// spacing, unknown or doubled names are errors of kind Invalid. The result still
// has to be prepared.
func Unmarshal(text []byte) (*Basis, error) {
	const op = "read facts"
	if len(text) > MaxBasis {
		return nil, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("more than %d bytes", MaxBasis), "")
	}
	b := new(Basis)
	if err := json.Unmarshal(text, b); err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "this is not a recorded basis", err)
	}
	again, err := Marshal(b.canonical())
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(text, again) {
		return nil, sallyport.E(op, sallyport.Invalid, "this is not the canonical text of a basis", "")
	}
	return b, nil
}

// Replay decides a recorded question again: basis is the recorded text, acting
// those of the actors in the order of ActedOn, engine the set that was in force.
// The answer is Same as the recorded one, or the record is not what was decided on.
func Replay(engine policy.Engine, basis []byte, q Question, acting ...[]byte) (sallyport.Decision, error) {
	f, err := recall(engine, basis, q, acting)
	if err != nil {
		return sallyport.Decision{}, err
	}
	return Decide(engine, f), nil
}

// Same reports whether two decisions say the same: outcome, ids of reasons and of
// failed policies, obligations and the level needed. Texts, remedies and the
// version of the policies are not compared.
func Same(a, b sallyport.Decision) bool {
	return a.Outcome == b.Outcome && a.Needs == b.Needs &&
		slices.Equal(a.ReasonIDs(), b.ReasonIDs()) &&
		slices.Equal(a.Errors, b.Errors) &&
		slices.Equal(a.Obligations, b.Obligations)
}
