// Package detect owns tripwires over the trail (intrusion detection, NIST SP 800-53 SI-4): what each looks for, and the
// findings that it made, with their evidence. It follows the trail, and never acts.
//
// It leaves what is done about a finding to watch/respond, statistics of sign-ins to identity/risk, and whom a finding
// is told to watch/notify.
package detect

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport"
)

// A Severity is how much a finding matters.
type Severity string

// The severities.
const (
	Info   Severity = "info"
	Low    Severity = "low"
	Medium Severity = "medium"
	High   Severity = "high"
)

// A State is where a finding stands.
type State string

// The states.
const (
	New      State = "new"      // nothing was done about it yet
	Answered State = "answered" // what its rule asks for was done
	Closed   State = "closed"   // somebody looked at it
)

// Limits of what is kept and listed.
const (
	MaxList     = 500
	MaxWhy      = 500
	maxEvidence = 32
)

// A Finding is one thing that was found.
type Finding struct {
	ID       string // "F-" and 12 characters
	Rule     string
	Severity Severity
	Who      sallyport.PrincipalID // whom it is about, "" where that is not known
	Subject  string                // what it is about: "session:S-…", "family:…", "device:DV-…", "user:ana", "network:192.0.2.0/24"
	At       time.Time             // of the last event of its evidence
	Text     string                // one sentence for people
	Evidence []uint64              // numbers of events of the trail, in order
	Detail   map[string]string

	State   State
	Did     []string // what was done, by watch/respond
	Closed  time.Time
	Closer  sallyport.PrincipalID
	Verdict string // "confirmed" or "benign", by who closed it
	Why     string
}

// A Filter selects findings; the zero Filter selects all.
type Filter struct {
	State  State // "" = any
	Rule   string
	Who    sallyport.PrincipalID
	Oldest bool // the oldest first, otherwise the newest
	Most   int  // 0 and more than MaxList are MaxList
}

// A Store keeps findings. Writes are durable when they return; methods are safe for concurrent use.
type Store interface {
	// Put keeps findings, leaves those that are there as they are, and notes that the trail was read up to next, in one
	// transaction.
	Put(ctx context.Context, findings []Finding, next uint64) error
	// Missing returns those of ids that no finding has.
	Missing(ctx context.Context, ids []string) ([]string, error)
	// Next is the number of the first event that was not read yet.
	Next(ctx context.Context) (uint64, error)
	// Findings returns what a filter selects.
	Findings(ctx context.Context, f Filter) ([]Finding, error)
	// Finding returns one, NotFound where there is none.
	Finding(ctx context.Context, id string) (Finding, error)
	// Update reads a finding, lets change alter what comes after Detail, and writes that, in one transaction. An error of
	// change is returned, and nothing is written. NotFound.
	Update(ctx context.Context, id string, change func(*Finding) error) (Finding, error)
}

// id names a finding by what it is: the same rule finds the same about one subject once in a span of time, also when the
// trail is read again.
func id(rule, subject string, at time.Time, span time.Duration) string {
	var bucket [8]byte
	binary.BigEndian.PutUint64(bucket[:], uint64(at.UnixMicro()/max(1, span.Microseconds())))
	sum := sha256.Sum256(slices.Concat([]byte(rule), []byte{0}, []byte(subject), []byte{0}, bucket[:]))
	return "F-" + strings.ToUpper(base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").EncodeToString(sum[:10]))[:12]
}

// event is the record of a finding.
func (f *Finding) event() sallyport.Event {
	d := map[string]string{"finding": f.ID, "rule": f.Rule, "severity": string(f.Severity), "text": f.Text, "evidence": strings.Trim(fmt.Sprint(f.Evidence), "[]")}
	for k, v := range f.Detail {
		if _, taken := d[k]; !taken {
			d[k] = v
		}
	}
	return sallyport.Event{Type: sallyport.EventFinding, Who: f.Who, On: f.Subject, Reasons: []string{f.Rule}, Detail: d}
}

// A Verdict is what somebody who looked at a finding says of it.
type Verdict struct {
	Word   string // "confirmed" or "benign"
	Why    string
	By     sallyport.PrincipalID
	Person sallyport.PrincipalID // behind By
}

// Close says what a finding was. It takes a person, who is not the one it is about.
func (d *Detector) Close(ctx context.Context, id string, v Verdict) (Finding, error) {
	const op = "close finding"
	verdict, why := v.Word, v.Why
	if verdict != "confirmed" && verdict != "benign" {
		return Finding{}, sallyport.E(op, sallyport.Invalid, "the verdict is neither confirmed nor benign", "say which, with a reason")
	}
	if strings.TrimSpace(why) == "" || len(why) > MaxWhy || sallyport.OneLine(why[:min(len(why), 80)]) != why[:min(len(why), 80)] {
		return Finding{}, sallyport.E(op, sallyport.Invalid, "the reason cannot be kept", fmt.Sprintf("say why in one line of 1 to %d bytes", MaxWhy))
	}
	f, err := d.Store.Update(ctx, id, func(f *Finding) error {
		if f.State == Closed {
			return sallyport.E(op, sallyport.Conflict, f.ID+" is closed already", "")
		}
		if f.Who != "" && (f.Who == v.By || f.Who == v.Person) {
			return sallyport.E(op, sallyport.Conflict, "nobody closes what was found about themselves", "ask somebody else to look at it")
		}
		f.State, f.Closed, f.Closer, f.Verdict, f.Why = Closed, d.Clock().UTC().Truncate(time.Microsecond), v.By, verdict, why
		return nil
	})
	if sallyport.KindOf(err) == sallyport.NotFound {
		err = sallyport.E(op, sallyport.NotFound, "there is no such finding", "run 'sallyport findings ls'")
	}
	return f, err
}
