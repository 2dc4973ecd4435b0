// Package signed owns what an approval by a passkey is: the canonical form of a question, the statement that a voter signs,
// and whether signatures make it approved (Web Authentication Level 3, section 7.2, without a server's help; dual
// authorization of NIST SP 800-53 AC-3(2)).
//
// All of it is computed from the question, its votes and the approvers' public keys, so that the guard and an auditor
// without any access judge alike. Whose keys count is a chain that begins with pinned ones: each later key was approved
// by holders of earlier ones. The package leaves asking and counting to authz/approval, and keeping keys to
// authz/approver.
package signed

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"slices"
	"time"

	"sallyport"
)

// MaxNeed is the most approvals that a question may ask for.
const MaxNeed = sallyport.MaxApprovals

// A Quorum is how many members of a group must say yes.
type Quorum = sallyport.Quorum

// Reached reports whether people, each given by the groups they vote for, fill every quorum, nobody being counted twice.
func Reached(all []Quorum, people [][]string) bool {
	var seats []string
	for _, q := range all {
		for range min(max(q.Need, 0), sallyport.MaxApprovals+1) {
			seats = append(seats, q.Group)
		}
	}
	taken := make([]int, len(people)) // the seat of each person, one more than its index
	var place func(seat int, tried []bool) bool
	place = func(seat int, tried []bool) bool {
		for i, groups := range people {
			if tried[i] || !slices.Contains(groups, seats[seat]) {
				continue
			}
			tried[i] = true
			if taken[i] == 0 || place(taken[i]-1, tried) {
				taken[i] = seat + 1
				return true
			}
		}
		return false
	}
	for seat := range seats {
		if !place(seat, make([]bool, len(people))) {
			return false
		}
	}
	return true
}

// A Question is what is asked, by whom, of whom. Every field is under its hash.
type Question struct {
	ID          string                `json:"id"`    // "R-" and 10 characters
	Topic       string                `json:"topic"` // what kind of question
	Asker       sallyport.PrincipalID `json:"asker"`
	AskerPerson sallyport.PrincipalID `json:"person"`
	Subject     string                `json:"subject"`   // for people: one line
	Canonical   []byte                `json:"canonical"` // what exactly is asked, in the spelling of the topic
	Need        int                   `json:"need"`      // distinct people who must say yes
	Groups      []Quorum              `json:"groups,omitempty"`
	Approvers   string                `json:"approvers"`        // for people: who may vote
	Policy      string                `json:"policy,omitempty"` // version of the policy set in force when it was asked
	Nonce       string                `json:"nonce,omitempty"`  // 32 hex digits; "" in questions of before there were signatures
	Created     time.Time             `json:"created"`
	Expires     time.Time             `json:"expires"` // exclusive
}

// Hash covers every field, each behind its length, so that no two questions read the same: 64 hex digits. A question
// without a nonce has the form of before there were nonces.
func (q Question) Hash() string {
	h := sha256.New()
	number := func(n int64) { _ = binary.Write(h, binary.BigEndian, n) }
	text := func(all ...string) {
		for _, s := range all {
			number(int64(len(s)))
			_, _ = io.WriteString(h, s)
		}
	}
	form := "sallyport approval 1"
	if q.signable() {
		form = "sallyport approval 2"
	}
	text(form, q.ID, q.Topic, string(q.Asker), string(q.AskerPerson), q.Subject, string(q.Canonical), q.Approvers)
	number(int64(q.Need))
	number(q.Created.UnixMicro())
	number(q.Expires.UnixMicro())
	if q.signable() {
		text(q.Policy, q.Nonce)
		number(int64(len(q.Groups)))
		for _, g := range q.Groups {
			text(g.Group)
			number(int64(g.Need))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// signable reports whether the question has the form that signatures are made over.
func (q Question) signable() bool { return q.Nonce != "" || q.Policy != "" || len(q.Groups) > 0 }
