package approval

import (
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"sallyport"
)

// check refuses a question that cannot be put.
func (r *Request) check() error {
	const op = "ask for approval"
	if r.Need < 1 || r.Need > MaxNeed {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%d approvals are asked for", r.Need), fmt.Sprintf("ask for 1 to %d", MaxNeed))
	}
	if r.Asker == "" || r.AskerPerson.Kind() != sallyport.User {
		return sallyport.E(op, sallyport.Invalid, "nobody asks", "name the asker and the person behind it")
	}
	if len(r.Canonical) == 0 || len(r.Canonical) > MaxCanonical {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("the question has %d bytes", len(r.Canonical)), fmt.Sprintf("keep it to 1 to %d", MaxCanonical))
	}
	if !r.Created.Before(r.Expires) || r.Expires.Sub(r.Created) > maxOpen {
		return sallyport.E(op, sallyport.Invalid, "the question expires at the wrong time", "let it expire within a month")
	}
	if err := sallyport.CheckQuorums(r.Groups); err != nil {
		return err
	}
	if err := sallyport.CheckName(op, r.Topic); err != nil {
		return err
	}
	if err := checkText(op, "subject", r.Subject, 1, MaxSubject); err != nil {
		return err
	}
	return checkText(op, "rule for approvers", r.Approvers, 1, MaxReason)
}

// checkText refuses what is too short or long, not UTF-8, or moves the cursor.
func checkText(op, what, s string, least, most int) error {
	if len(s) < least || len(s) > most {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the %s has %d bytes", what, len(s)), fmt.Sprintf("write %d to %d", least, most))
	}
	if !utf8.ValidString(s) || slices.ContainsFunc([]rune(s), func(c rune) bool { return !unicode.IsPrint(c) }) {
		return sallyport.E(op, sallyport.Invalid, "the "+what+" holds characters that cannot be printed", "write one line of text")
	}
	return nil
}
