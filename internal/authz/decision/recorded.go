package decision

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// unsaid is what is recorded as the target where nobody said one.
const unsaid = "-"

// QuestionOf returns the question that a decided event recorded, for a replay.
func QuestionOf(e sallyport.Event) (Question, error) {
	if e.Type != sallyport.EventDecided || e.Asked == nil {
		return Question{}, sallyport.E("replay", sallyport.Invalid, "the event is no decision", "name a decision id, D-…")
	}
	scope, err := sallyport.ParseScope(e.Asked.Scope)
	if err != nil {
		return Question{}, err
	}
	q := Question{
		Action: e.Action, At: e.Time(), Door: e.Asked.Door, IP: e.Asked.IP, File: e.Asked.File, Scope: scope,
		Assurance: sallyport.Assurance(e.Asked.Assurance), Session: e.Asked.Session, Family: e.Asked.Family,
		Staleness: time.Duration(e.Asked.Staleness) * time.Millisecond,
		Client:    e.Asked.Client, Bound: e.Asked.Bound, Purpose: e.Asked.Purpose, Network: e.Asked.Network, Risk: e.Asked.Risk,
		Working: e.Asked.Working, Country: e.Asked.Country, Carries: e.Asked.Carries,
	}
	if q.Action.Enters() {
		q.To, q.former = sallyport.Environment(strings.TrimPrefix(e.Asked.To, unsaid)), e.Asked.To == ""
	}
	if q.History, err = parseHistory(e.Asked.History); err != nil {
		return Question{}, err
	}
	if q.Opinions, err = parseOpinions(e.Asked.Opinions); err != nil {
		return Question{}, err
	}
	for _, id := range strings.Fields(e.Asked.Actors) {
		q.Actors = append(q.Actors, sallyport.PrincipalID(id))
	}
	if d := e.Asked.Device; d != nil {
		good := strings.Fields(d.Good)
		q.Device = Device{ID: d.ID, Class: d.Class, Level: d.Level, Posture: time.Duration(d.Posture) * time.Second, OS: d.OS,
			Encrypted: slices.Contains(good, "encrypted"), Locked: slices.Contains(good, "locked"), Patched: slices.Contains(good, "patched")}
	}
	if e.Asked.Trained != 0 {
		q.Trained = time.Unix(e.Asked.Trained, 0).UTC()
	}
	if e.Asked.AuthTime != 0 {
		q.AuthTime = time.Unix(e.Asked.AuthTime, 0).UTC()
	}
	return q, nil
}

// ActedOn returns the content hashes of the actors' bases that a decided event
// names, in the order of the actors.
func ActedOn(e sallyport.Event) []string {
	if e.Asked == nil {
		return nil
	}
	return strings.Fields(e.Asked.ActedOn)
}

// Again decides what a decided event recorded once more, on the recorded bases that
// text returns by their content hash, nil where there is none.
func Again(engine policy.Engine, e sallyport.Event, text func(hash string) []byte) (sallyport.Decision, error) {
	f, err := Recall(engine, e, text)
	if err != nil {
		return sallyport.Decision{}, err
	}
	return Decide(engine, f), nil
}

// Recall puts together what a decided event was decided on, as Again does.
func Recall(engine policy.Engine, e sallyport.Event, text func(hash string) []byte) (Facts, error) {
	q, err := QuestionOf(e)
	if err != nil {
		return Facts{}, err
	}
	var acting [][]byte
	for _, hash := range ActedOn(e) {
		acting = append(acting, text(hash))
	}
	return recall(engine, text(e.Facts), q, acting)
}

func recall(engine policy.Engine, basis []byte, q Question, acting [][]byte) (Facts, error) {
	f := Facts{Question: q}
	for i, text := range append([][]byte{basis}, acting...) {
		b, err := Unmarshal(text)
		if err != nil {
			return Facts{}, err
		}
		if b, err = Prepare(engine, b); err != nil {
			return Facts{}, err
		}
		if i == 0 {
			f.Basis = b
		} else {
			f.Acting = append(f.Acting, b)
		}
	}
	return f, nil
}

// Recorded is the question as a decided event records it, with the content hashes
// of the actors' bases: what QuestionOf and ActedOn read.
func (f *Facts) Recorded() *sallyport.Asked {
	a := f.Question.Recorded()
	for i, b := range f.Acting {
		a.ActedOn += " "[:min(i, 1)] + b.Hash()
	}
	return a
}

// Recorded is the question as a decided event records it: what QuestionOf reads.
func (q *Question) Recorded() *sallyport.Asked {
	a := &sallyport.Asked{Door: q.Door, IP: q.IP, File: q.File, Scope: q.Scope.String(), Assurance: int(q.Assurance),
		Session: q.Session, Family: q.Family, Staleness: q.Staleness.Milliseconds(),
		Client: q.Client, Bound: q.Bound, Purpose: q.Purpose, Network: q.Network, Risk: q.Risk,
		Working: q.Working, Country: q.Country, History: historyText(q.History), Opinions: opinionsText(q.Opinions), Carries: q.Carries}
	if !q.AuthTime.IsZero() {
		a.AuthTime = q.AuthTime.Unix()
	}
	if !q.Trained.IsZero() {
		a.Trained = q.Trained.Unix()
	}
	if q.Action.Enters() && !q.former {
		a.To = cmp.Or(string(q.To), unsaid)
	}
	for i, id := range q.Actors {
		a.Actors += " "[:min(i, 1)] + string(id)
	}
	if d := q.Device; d.ID != "" {
		var good []string
		for _, g := range []struct {
			is   bool
			name string
		}{{d.Encrypted, "encrypted"}, {d.Locked, "locked"}, {d.Patched, "patched"}} {
			if g.is {
				good = append(good, g.name)
			}
		}
		if d.Posture < 0 {
			d.Posture = -time.Second
		}
		a.Device = &sallyport.AskedDevice{ID: d.ID, Class: d.Class, Level: d.Level, Posture: max(-1, int64(d.Posture/time.Second)), OS: d.OS,
			Good: strings.Join(good, " ")}
	}
	return a
}

// historyText is a history as a decided event records it: bytes, denials, models and
// exports of each window from the shortest on, "" for one that holds nothing.
func historyText(h policy.History) string {
	if h == (policy.History{}) {
		return ""
	}
	text := make([]byte, 0, 48)
	for i, w := range [...]policy.Window{h.Short, h.Day, h.Month} {
		for k, n := range [...]int64{w.Bytes, w.Denials, w.Models, w.Exports} {
			if i+k > 0 {
				text = append(text, ' ')
			}
			text = strconv.AppendInt(text, n, 10)
		}
	}
	return string(text)
}

// parseHistory reads what historyText wrote; an error is of kind Invalid.
func parseHistory(text string) (policy.History, error) {
	var h policy.History
	if text == "" {
		return h, nil
	}
	bad := sallyport.E("replay", sallyport.Invalid, "the recorded history is not twelve numbers", "")
	if len(text) > 12*20 {
		return h, bad
	}
	words := strings.Split(text, " ")
	into := [...]*int64{&h.Short.Bytes, &h.Short.Denials, &h.Short.Models, &h.Short.Exports,
		&h.Day.Bytes, &h.Day.Denials, &h.Day.Models, &h.Day.Exports,
		&h.Month.Bytes, &h.Month.Denials, &h.Month.Models, &h.Month.Exports}
	if len(words) != len(into) {
		return policy.History{}, bad
	}
	for i, word := range words {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != word {
			return policy.History{}, bad
		}
		*into[i] = n
	}
	return h, nil
}
