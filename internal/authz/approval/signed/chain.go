package signed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"sallyport"
)

// Topic is the topic of questions about approvers' keys.
const Topic = "approver"

// An Act is what an entry of the chain does.
type Act string

// The acts.
const (
	Pin    Act = "pin"    // the first key of all, by the first administrator; it has no approval, and is recorded as such
	Enrol  Act = "enrol"  // a key that holders of earlier ones approved
	Remove Act = "remove" // a key counts no more
)

// A Change is what is asked of a question of the Topic: its canonical text is the JSON of a Change.
type Change struct {
	Act Act `json:"act"`
	Key Key `json:"key"` // of Remove: Credential and Person only
}

// Canonical is the text of a change.
func (c Change) Canonical() ([]byte, error) { return json.Marshal(c) }

// An Entry is one link of the chain of approvers' keys.
type Entry struct {
	Change
	At       time.Time `json:"at"`                 // from when it holds
	Question *Question `json:"question,omitempty"` // nil of Pin
	Votes    []Vote    `json:"votes,omitempty"`
	Prev     string    `json:"prev"` // hash of the entry before, "" of the first
}

// Hash names an entry and, by what it follows, the whole chain up to it: 64 hex digits.
func (e Entry) Hash() string {
	raw, err := json.Marshal(e)
	if err != nil {
		return "" // cannot happen: strings, numbers and times; and nothing hashes to this
	}
	sum := sha256.Sum256(append([]byte("sallyport approver 1\n"), raw...))
	return hex.EncodeToString(sum[:])
}

// NeedFor is how many people must approve a change to a person's keys: two to enrol one, or the only one there is; one to
// remove one. The person does not count among them.
func NeedFor(keys Keys, c Change, at time.Time) int {
	others := 0
	for _, p := range keys.People(at) {
		if p != c.Key.Person {
			others++
		}
	}
	if c.Act == Remove {
		return min(others, 1)
	}
	return min(others, 2)
}

// Walk verifies a chain and returns the keys that it makes, those that are over too, and the hash of its last entry. pins
// are keys that are trusted from outside, such as a configuration: where there are any, no entry pins one. One entry that
// is wrong makes the whole chain wrong.
func Walk(pins []Key, entries []Entry) (keys Keys, head string, err error) {
	keys = Keys(slices.Clone(pins))
	for i, k := range keys {
		if err := k.Check(); err != nil {
			return nil, "", err
		}
		if err := fresh(keys[:i], k); err != nil {
			return nil, "", err
		}
	}
	for i, e := range entries {
		if e.Prev != head {
			return nil, "", broken(i, "it does not follow the entry before it")
		}
		if keys, err = keys.link(e, i, len(pins) > 0); err != nil {
			return nil, "", err
		}
		head = e.Hash()
	}
	return keys, head, nil
}

// link adds one entry.
func (all Keys) link(e Entry, i int, pinned bool) (Keys, error) {
	if e.Act == Pin {
		switch {
		case pinned || i > 0:
			return nil, broken(i, "a key is pinned although there are others")
		case e.Question != nil || len(e.Votes) > 0 || e.At.IsZero():
			return nil, broken(i, "a pinned key has an approval, or no time")
		}
		return all.add(e.Key, e.At, i)
	}
	if e.Question == nil || e.Question.Topic != Topic {
		return nil, broken(i, "nobody was asked")
	}
	want, err := e.Canonical()
	if err != nil || !bytes.Equal(want, e.Question.Canonical) {
		return nil, broken(i, "something else was asked")
	}
	if e.Question.Need < max(1, NeedFor(all, e.Change, e.Question.Created)) {
		return nil, broken(i, "too few people were asked")
	}
	if slices.ContainsFunc(e.Votes, func(v Vote) bool { return v.Person == e.Key.Person || v.Voter == e.Key.Person }) {
		return nil, broken(i, "somebody approved a key of their own")
	}
	if err := Verify(*e.Question, e.Votes, all); err != nil {
		return nil, sallyport.Wrap("walk chain of approvers", sallyport.Conflict, fmt.Sprintf("entry %d", i), err).Because(ReasonChain)
	}
	if !e.At.Equal(Decided(e.Votes)) {
		return nil, broken(i, "it was approved at another time")
	}
	if e.Act == Enrol {
		return all.add(e.Key, e.At, i)
	}
	if e.Act != Remove {
		return nil, broken(i, "it does nothing that is known")
	}
	next := slices.Clone(all)
	for n, k := range next {
		if bytes.Equal(k.Credential, e.Key.Credential) && k.Person == e.Key.Person && k.Until.IsZero() {
			next[n].Until = e.At
			return next, nil
		}
	}
	return nil, broken(i, "it removes a key that is not there")
}

func (all Keys) add(k Key, since time.Time, i int) (Keys, error) {
	k.Since, k.Until = since, time.Time{}
	if err := k.Check(); err != nil {
		return nil, err
	}
	if err := fresh(all, k); err != nil {
		return nil, broken(i, err.Error())
	}
	return append(slices.Clone(all), k), nil
}

// fresh refuses a credential or a key that is somebody's already: one authenticator is one person.
func fresh(all Keys, k Key) error {
	for _, o := range all {
		if bytes.Equal(o.Credential, k.Credential) || bytes.Equal(o.Public, k.Public) {
			return sallyport.E("enrol approver's key", sallyport.Conflict, "it is or was an approver's key already", "use another passkey")
		}
	}
	return nil
}

// ReasonChain is the reason of errors about the chain.
const ReasonChain = "approval.chain"

func broken(i int, text string) error {
	return sallyport.E("walk chain of approvers", sallyport.Conflict, fmt.Sprintf("entry %d: %s", i, text),
		"somebody altered it where it is kept: compare it with the log").Because(ReasonChain)
}
