package drift

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"sallyport"
	"sallyport/internal/govern/intent"
)

// An Act is what a change does.
type Act string

// The acts.
const (
	Accept  Act = "accept"  // what is meant becomes what is
	Restore Act = "restore" // what is becomes what is meant
	Declare Act = "declare" // what is meant becomes what a file says
)

// A Change is what others are asked to approve. Its differences are those of the moment in which it was asked: where one of
// them is another meanwhile, the approval is void.
type Change struct {
	Act    Act                   `json:"act"`
	Items  []intent.Difference   `json:"items"` // of Declare, Is is what would be meant
	Why    string                `json:"why"`
	Source string                `json:"source,omitempty"` // of Declare: "sha256:…" of the file
	Who    sallyport.PrincipalID `json:"who"`              // asks
	At     time.Time             `json:"at"`
	// first: it needs nobody's approval, because nothing was declared when it was planned.
	first bool
}

// By is who carries a change out, and on whose approval.
type By struct {
	Who      sallyport.PrincipalID
	Decision string
	Request  string
}

// Limits of a change.
const (
	MaxFix  = 50   // items that are named
	MaxWhy  = 300  // bytes
	maxKeys = 4000 // bytes of names in the text that is voted on
)

// canonical is the text that is voted on. The digest stands for every value of the change.
type canonical struct {
	Act    Act      `json:"act"`
	Digest string   `json:"digest"`
	Count  int      `json:"count"`
	Items  []string `json:"items"`
	Why    string   `json:"why"`
	Source string   `json:"source,omitempty"`
}

// Digest is "sha256:" and 64 hex digits over the whole change.
func (c Change) Digest() (string, error) {
	raw, err := json.Marshal(c)
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:]), err
}

// Canonical is the text that is voted on.
func (c Change) Canonical() ([]byte, error) {
	digest, err := c.Digest()
	if err != nil {
		return nil, err
	}
	x := canonical{Act: c.Act, Digest: digest, Count: len(c.Items), Items: []string{}, Why: c.Why, Source: c.Source}
	size := 0
	for _, d := range c.Items {
		if size += len(d.Key()); size > maxKeys {
			break
		}
		x.Items = append(x.Items, d.Key())
	}
	return json.Marshal(x)
}

// Subject says in one line what is asked.
func (c Change) Subject() string {
	verb := map[Act]string{Accept: "accept as it is: ", Restore: "put back as it is meant: ", Declare: "mean from now on: "}[c.Act]
	var keys []string
	for _, d := range c.Items {
		keys = append(keys, fmt.Sprintf("%s (%s)", d.Key(), d.Direction()))
	}
	text := Printed(verb + strings.Join(keys, ", "))
	if len(text) > 300 {
		text = fmt.Sprintf("%s%d items, the first %s", verb, len(keys), shortKey(Printed(keys[0])))
	}
	return text
}

// Printed marks what cannot be printed, which no request takes: a name in the store may be anybody's.
func Printed(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func shortKey(s string) string { return strings.ToValidUTF8(s[:min(len(s), 200)], "") }

// Plan makes the change that fixes some of what was found, one way or the other, as it stands now. All of the configuration's
// file is fixed together: it is one text.
func (s *Service) Plan(ctx context.Context, act Act, keys []string, who sallyport.PrincipalID, why string) (Change, error) {
	const op = "fix drift"
	s.mu.Lock()
	defer s.mu.Unlock()
	if act != Accept && act != Restore || len(keys) == 0 || len(keys) > MaxFix || why == "" || len(why) > MaxWhy {
		return Change{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("a fix accepts or restores 1 to %d items, for a reason of up to %d bytes", MaxFix, MaxWhy), "")
	}
	st, _, err := s.fresh(ctx)
	if err != nil {
		return Change{}, err
	}
	c := Change{Act: act, Why: why, Who: who, At: s.Clock().UTC().Truncate(time.Microsecond)}
	picked := map[string]bool{}
	for _, key := range keys {
		n := slices.IndexFunc(st.Open, func(d Drift) bool { return d.Key() == key })
		if n < 0 {
			return Change{}, sallyport.E(op, sallyport.NotFound, fmt.Sprintf("%.80q does not differ", key), "run 'sallyport drift' to see what does")
		}
		if d := st.Open[n]; d.Kind() == intent.Policy {
			return Change{}, sallyport.E(op, sallyport.Conflict, "the policy set is changed by its own requests", "run 'sallyport policy status', then 'sallyport policy propose' or 'sallyport policy rollback'")
		}
		picked[key] = true
		if st.Open[n].Kind().Configured() {
			for _, d := range st.Open {
				if d.Kind().Configured() {
					picked[d.Key()] = true
				}
			}
		}
	}
	if act == Accept && picked[unreadKey] {
		return Change{}, sallyport.E(op, sallyport.Conflict, "the configuration's file cannot be read: that is nothing to mean", "repair it, or restore it")
	}
	for _, d := range st.Open {
		if picked[d.Key()] {
			c.Items = append(c.Items, bare(d.Difference))
		}
	}
	return c, s.ask(ctx, st, c)
}

// bare leaves the other names out: they are not voted on.
func bare(d intent.Difference) intent.Difference {
	d.Want.Names, d.Is.Names = nil, nil
	return d
}

// PlanDeclaration makes the change after which some items are meant; first reports that nothing was ever declared, and the
// change needs nobody's approval.
func (s *Service) PlanDeclaration(ctx context.Context, items []intent.Item, source string, who sallyport.PrincipalID) (c Change, first bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range items {
		if !i.Kind.Organisation() {
			return c, false, sallyport.E("declare", sallyport.Invalid, "a declaration is of roles, groups and assignments", "")
		}
	}
	if err := contradiction(items); err != nil {
		return c, false, err
	}
	st, _, err := s.fresh(ctx)
	if err != nil {
		return c, false, err
	}
	next, err := st.Want.With(items...)
	if err != nil {
		return c, false, err
	}
	c = Change{Act: Declare, Source: source, Who: who, At: s.Clock().UTC().Truncate(time.Microsecond), Why: "as a file says", first: st.Declared == nil}
	for _, d := range intent.Compare(st.Want, next) {
		c.Items = append(c.Items, bare(d))
	}
	if c.first || len(c.Items) == 0 {
		return c, c.first, nil
	}
	return c, false, s.ask(ctx, st, c)
}

// contradiction refuses items of which one name says two things: who reads the one must not have approved the other.
func contradiction(items []intent.Item) error {
	said := map[string]string{}
	for _, i := range items {
		if value, twice := said[i.Key()]; twice && value != i.Value {
			return sallyport.E("declare", sallyport.Invalid, fmt.Sprintf("%.80q is there twice, and says two things", i.Key()), "keep one")
		}
		said[i.Key()] = i.Value
	}
	return nil
}

// fresh is the intention after a look, and what that saw.
func (s *Service) fresh(ctx context.Context) (state, Observation, error) {
	obs, err := s.look(ctx)
	if err != nil {
		return state{}, obs, err
	}
	st, _, err := s.load(ctx)
	return st, obs, err
}

// ask keeps a change until it is answered.
func (s *Service) ask(ctx context.Context, st state, c Change) error {
	digest, err := c.Digest()
	if err != nil {
		return err
	}
	asked := maps.Clone(st.Asked)
	if asked == nil {
		asked = map[string]Change{}
	}
	if len(asked) >= maxAsked { // the oldest gives way: it is asked again
		oldest := slices.MinFunc(slices.Collect(maps.Keys(asked)), func(a, b string) int { return asked[a].At.Compare(asked[b].At) })
		delete(asked, oldest)
	}
	asked[digest] = c
	st.Asked = asked
	return s.save(ctx, st)
}

// Asked returns the change that a text that was voted on stands for.
func (s *Service) Asked(ctx context.Context, text []byte) (Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, _, err := s.load(ctx)
	if err != nil {
		return Change{}, err
	}
	return st.change(text)
}

func (st state) change(text []byte) (Change, error) {
	var x canonical
	if err := json.Unmarshal(text, &x); err != nil {
		return Change{}, sallyport.Wrap("read change", sallyport.Invalid, "what was asked cannot be read", err)
	}
	c, ok := st.Asked[x.Digest]
	if ok {
		if digest, err := c.Digest(); err != nil || digest != x.Digest {
			ok = false
		}
	}
	if !ok {
		return Change{}, sallyport.E("read change", sallyport.NotFound, "this change waits for nobody any more", "ask for it again")
	}
	return c, nil
}

// Makers are who changed what a change is about, as far as the log says.
func (s *Service) Makers(ctx context.Context, c Change) ([]sallyport.PrincipalID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, _, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	var all []sallyport.PrincipalID
	for _, d := range st.Open {
		if d.Who != "" && slices.ContainsFunc(c.Items, func(x intent.Difference) bool { return x.Same(d.Difference) }) {
			all = append(all, d.Who)
		}
	}
	return all, nil
}

// Carry carries a change out, once it is approved or needs nobody's approval. What differs otherwise than it did when it was
// asked is Conflict, and nothing is done.
func (s *Service) Carry(ctx context.Context, c Change, by By) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, obs, err := s.fresh(ctx)
	if err != nil {
		return err
	}
	if err := st.stands(c); err != nil {
		return err
	}
	for _, d := range c.Items {
		e := sallyport.Event{Type: sallyport.EventDriftFixed, Who: by.Who, Decision: by.Decision, On: d.Key(),
			Detail: map[string]string{"what": string(c.Act), "request": by.Request, "why": c.Why, "want": shorten(d.Want.Value), "is": shorten(d.Is.Value)}}
		if err := s.Note(ctx, e); err != nil {
			return err
		}
	}
	if c.Act == Restore {
		err = s.putBack(ctx, st, obs, c, by)
	} else {
		err = s.mean(ctx, st, obs, c, by)
	}
	if err != nil {
		return err
	}
	_, err = s.look(ctx)
	return err
}

// stands reports whether a change is still about what is. As long as nothing is declared, what the log has a record of is
// meant, and that grows while the first declaration is on its way: it comes in place of whatever was meant.
func (st state) stands(c Change) error {
	if c.Act == Declare && st.Declared == nil {
		return nil
	}
	if c.first {
		return sallyport.E("declare", sallyport.Conflict, "somebody else has declared meanwhile, and others approve what comes after that", "declare it again")
	}
	for _, d := range c.Items {
		ok := st.Want.Find(d.Key()).Value == d.Want.Value
		if c.Act != Declare {
			ok = slices.ContainsFunc(st.Open, func(o Drift) bool { return o.Same(d) })
		}
		if !ok {
			return sallyport.E("fix drift", sallyport.Conflict, fmt.Sprintf("%.80q has changed since it was asked", d.Key()), "run 'sallyport drift' and ask again")
		}
	}
	return nil
}

// mean makes what a change says the intention. The text that is kept is the one that was compared.
func (s *Service) mean(ctx context.Context, st state, obs Observation, c Change, by By) error {
	var items, before []intent.Item
	file := false
	for _, d := range c.Items {
		is := d.Is
		if now := obs.Items.Find(d.Key()); now.Value == is.Value {
			is.Names = now.Names
		}
		if d.Kind().Configured() {
			file = true
			if obs.Items.Find(d.Key()).Value != is.Value {
				before = append(before, remembered(obs.Items.Find(d.Key())))
			}
		}
		items = append(items, is)
	}
	var err error
	if st.Want, err = st.Want.With(items...); err != nil {
		return err
	}
	if st.Before, err = st.Before.With(before...); err != nil {
		return err
	}
	if file {
		st.Text = obs.Text
	}
	if c.Act == Declare {
		st.Declared = &Declaration{By: c.Who, At: c.At, Source: c.Source, Hash: st.meant(), Request: by.Request}
	}
	e := sallyport.Event{Type: sallyport.EventDriftDeclared, Who: by.Who, Decision: by.Decision, On: st.meant(),
		Detail: map[string]string{"what": string(c.Act), "items": fmt.Sprint(len(items)), "source": c.Source, "request": by.Request, "author": string(c.Who)}}
	if err := s.Note(ctx, e); err != nil {
		return err
	}
	return s.save(ctx, st.answered(c))
}

func remembered(i intent.Item) intent.Item {
	i.Value = before(i)
	return i
}

// answered forgets a change that waits no more.
func (st state) answered(c Change) state {
	if digest, err := c.Digest(); err == nil {
		st.Asked = without(st.Asked, digest)
	}
	return st
}

// putBack makes what is what is meant.
func (s *Service) putBack(ctx context.Context, st state, obs Observation, c Change, by By) error {
	file := false
	for _, d := range c.Items {
		if d.Kind().Configured() {
			file = true
			continue
		}
		d.Is.Names = obs.Items.Find(d.Key()).Names // as it is called now
		if err := s.Restore(ctx, d, by); err != nil {
			return err
		}
	}
	if file {
		if len(st.Text) == 0 {
			return sallyport.E("fix drift", sallyport.Conflict, "this server was not started from a file that could be put back", "start it again with the configuration that is meant")
		}
		if err := s.RestoreText(ctx, st.Text); err != nil {
			return err
		}
	}
	return s.save(ctx, st.answered(c))
}

// A Report is what was found.
type Report struct {
	Declared *Declaration
	Hash     string    // of what is meant of the organisation
	Items    int       // that are compared
	Looked   time.Time // last
	Open     []Drift
	More     int      // differences beyond those of Open
	Restart  []string // what is meant and waits for the server to start again
	Problem  string   // why the intention cannot be believed or what is there not be read; then nothing else is said
}

// Report says what the last look found.
func (s *Service) Report(ctx context.Context) (Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem != "" {
		return Report{Problem: s.problem, Looked: s.looked}, nil
	}
	st, there, err := s.load(ctx)
	if sallyport.KindOf(err) == sallyport.Conflict {
		return Report{Problem: sallyport.PublicText(err), Looked: s.looked}, nil
	}
	if err != nil || !there {
		return Report{}, err
	}
	return Report{Declared: st.Declared, Hash: st.meant(), Items: st.Want.Len(), Looked: s.looked, Open: st.Open, More: s.more, Restart: s.restart}, nil
}
