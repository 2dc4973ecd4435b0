package signed

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"sallyport"
)

// The reasons of errors, for the record.
const (
	ReasonUnsigned  = "approval.unsigned"  // a signature is asked for, and there is none
	ReasonSignature = "approval.signature" // there is one, and it is not for this
	ReasonKey       = "approval.key"       // the key is nobody's who may approve
	ReasonQuorum    = "approval.quorum"    // not enough people, or not the right ones
)

// Keys are the approvers' public keys, those that are over too.
type Keys []Key

// At returns the key of a credential id that counts at a time.
func (all Keys) At(credential []byte, at time.Time) (Key, bool) {
	for _, k := range all {
		if bytes.Equal(k.Credential, credential) && !at.Before(k.Since) && (k.Until.IsZero() || at.Before(k.Until)) {
			return k, true
		}
	}
	return Key{}, false
}

// Of returns the keys of a person that count at a time.
func (all Keys) Of(person sallyport.PrincipalID, at time.Time) Keys {
	var own Keys
	for _, k := range all {
		if k.Person == person && !at.Before(k.Since) && (k.Until.IsZero() || at.Before(k.Until)) {
			own = append(own, k)
		}
	}
	return own
}

// People returns who has a key that counts at a time, sorted.
func (all Keys) People(at time.Time) []sallyport.PrincipalID {
	var people []sallyport.PrincipalID
	for _, k := range all {
		if !at.Before(k.Since) && (k.Until.IsZero() || at.Before(k.Until)) {
			people = append(people, k.Person)
		}
	}
	slices.Sort(people)
	return slices.Compact(people)
}

// VerifyVote reports what is wrong with one vote on a question: who cast it, when, and the signature over both.
func VerifyVote(q Question, v Vote, keys Keys) error {
	const op = "verify vote"
	switch {
	case v.Signature == nil:
		return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("the vote of %s on %s is not signed", v.Person, q.ID), "sign it with your approver's key on its page").Because(ReasonUnsigned)
	case q.Nonce == "":
		return sallyport.E(op, sallyport.Conflict, q.ID+" was asked before there were signatures", "ask again").Because(ReasonUnsigned)
	case v.Voter.Kind() != sallyport.User || v.Person.Kind() != sallyport.User:
		return sallyport.E(op, sallyport.Conflict, "only a person votes", "").Because(ReasonKey)
	case v.Person == q.AskerPerson || v.Voter == q.Asker || v.Voter == q.AskerPerson || v.Person == q.Asker:
		return sallyport.E(op, sallyport.Conflict, "nobody approves their own request, through any identity", "ask somebody else to look at it").Because(ReasonQuorum)
	}
	return verifySigned(op, q, v, keys)
}

// VerifyAuthor reports what is wrong with the signature of the person who asks, over their own question: that it is theirs,
// to the byte. It counts as nobody's approval, and its statement is not that of one.
func VerifyAuthor(q Question, v Vote, keys Keys) error {
	const op = "verify author"
	switch {
	case v.Signature == nil || q.Nonce == "":
		return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s is not signed by %s, who answers for it", q.ID, q.AskerPerson), "sign it with your approver's key on its page").Because(ReasonUnsigned)
	case v.Person != q.AskerPerson || v.Voter.Kind() != sallyport.User || !v.Yes || len(v.Groups) > 0:
		return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s is signed by %s, and %s answers for it", q.ID, v.Person, q.AskerPerson), "sign it yourself").Because(ReasonKey)
	}
	return verifySigned(op, q, v, keys)
}

// verifySigned reports what is wrong with the time, the key and the signature of a vote.
func verifySigned(op string, q Question, v Vote, keys Keys) error {
	if v.At.Before(q.Created) || !v.At.Before(q.Expires) {
		return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("the vote of %s on %s was not cast in its time", v.Person, q.ID), "ask again").Because(ReasonSignature)
	}
	key, ok := keys.At(v.Signature.Credential, v.At)
	if !ok || key.Person != v.Person {
		return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s had no such key at that time", v.Person), "enrol it as an approver's key first").Because(ReasonKey)
	}
	for _, g := range v.Groups {
		if g != sallyport.Owners && !slices.Contains(key.Groups, g) {
			return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("the key of %s does not count for %s", v.Person, g), "enrol it for the group").Because(ReasonKey)
		}
	}
	return key.verify(*v.Signature, Challenge(q, v))
}

// Enough reports whether there are as many votes as a question asks for, of the right people.
func Enough(q Question, votes []Vote) bool {
	people := make([][]string, len(votes))
	for i, v := range votes {
		people[i] = v.Groups
	}
	return q.Need >= 1 && len(votes) >= max(q.Need, sallyport.Approvals(q.Groups)) && Reached(q.Groups, people)
}

// Count is Verify without signatures: votes by session, as good as whoever keeps them.
func Count(q Question, votes []Vote) error {
	const op = "verify approval"
	if q.Need < 1 || q.Need > MaxNeed {
		return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%d approvals approve nothing", q.Need), "ask for at least 1").Because(ReasonQuorum)
	}
	if err := sallyport.CheckQuorums(q.Groups); err != nil {
		return err
	}
	for i, v := range votes {
		if !v.Yes {
			return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s said no", v.Person), "").Because(ReasonQuorum)
		}
		if v.Person == q.AskerPerson || v.Voter == q.Asker || v.Voter == q.AskerPerson || v.Person == q.Asker {
			return sallyport.E(op, sallyport.Conflict, "nobody approves their own request, through any identity", "ask somebody else to look at it").Because(ReasonQuorum)
		}
		if slices.ContainsFunc(votes[:i], func(o Vote) bool { return o.Person == v.Person || o.Voter == v.Voter }) {
			return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s is counted twice", v.Person), "").Because(ReasonQuorum)
		}
	}
	if !Enough(q, votes) {
		return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%d people approved %s, and that is not enough", len(votes), q.ID), "ask others to vote").Because(ReasonQuorum)
	}
	return nil
}

// Verify reports why votes do not approve a question, nil where they do: enough distinct people who are not the asker,
// each with a key that counted then, each with a good signature over exactly this question, and every quorum filled. It
// needs nothing but its arguments.
func Verify(q Question, votes []Vote, keys Keys) error {
	if err := Count(q, votes); err != nil {
		return err
	}
	for _, v := range votes {
		if err := VerifyVote(q, v, keys); err != nil {
			return err
		}
	}
	return nil
}

// Decided is when the last of votes was cast.
func Decided(votes []Vote) time.Time {
	var last time.Time
	for _, v := range votes {
		if v.At.After(last) {
			last = v.At
		}
	}
	return last
}
