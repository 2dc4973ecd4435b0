// Package breakglass owns rights for an emergency: sealed beforehand by people who agreed, opened by somebody with a
// hardware key and two others, loud, over by themselves, and looked at afterwards by somebody else (emergency access,
// NIST SP 800-53 AC-2(2), AC-14).
//
//	define --two approve--> sealed
//	open (aal3) --two approve--> open --its time--> over --somebody else--> reviewed
//
// It leaves the votes to authz/approval, what the right is to a role and policy, and who is told to watch/notify.
package breakglass

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"sallyport"
	"sallyport/internal/authz/approval"
)

// The limits and topics.
const (
	MaxFor     = 4 * time.Hour // of one opening
	MaxOpeners = 32
	MaxWhy     = 500
	MaxList    = 200

	// Need is how many others must agree, to seal and to open.
	Need = 2

	TopicSeal = "breakglass-seal"
	TopicOpen = "breakglass-open"

	sealWithin = 14 * 24 * time.Hour // a definition waits so long for approval
	openWithin = time.Hour           // an opening waits so long
	freshProof = 15 * time.Minute    // how old the proof of who opens may be
)

// A Definition is an emergency right.
type Definition struct {
	Name    string
	Openers []string // who may open it: "user:ana", "group:acme/oncall"
	Role    string
	Scope   sallyport.Ref
	For     time.Duration
	Why     string
	By      sallyport.PrincipalID
	At      time.Time
	Request string    // for its approval
	Sealed  time.Time // zero until it was approved
}

// A State is where an opening stands.
type State string

// The states.
const (
	Asked    State = "asked"
	Open     State = "open"
	Over     State = "over" // told by the clock and by End
	Refused  State = "refused"
	Reviewed State = "reviewed"
)

// An Opening is one use of a definition.
type Opening struct {
	ID         string // "B-" and the characters of its request's id
	Name       string // of the definition
	Who        sallyport.PrincipalID
	Person     sallyport.PrincipalID
	Why        string
	Asked      time.Time
	Request    string
	State      State
	From       time.Time // when it was opened
	Until      time.Time
	Approvers  []sallyport.PrincipalID // people
	Assignment string                  // of the role, "" until it is given
	Reviewer   sallyport.PrincipalID
	ReviewedAt time.Time
	Review     string
}

// At returns the state at a time.
func (o *Opening) At(now time.Time) State {
	if o.State == Open && !now.Before(o.Until) {
		return Over
	}
	return o.State
}

// A Store keeps definitions and openings. Writes are durable when they return; methods are safe for concurrent use.
type Store interface {
	// Define keeps a new definition, Conflict when its name is taken.
	Define(ctx context.Context, d Definition) error
	// Seal notes that a definition was approved, NotFound when none waits under this request.
	Seal(ctx context.Context, request string, at time.Time) (Definition, error)
	// Definitions returns all of them, sorted by name.
	Definitions(ctx context.Context) ([]Definition, error)
	// Insert keeps a new opening.
	Insert(ctx context.Context, o Opening) error
	// Openings returns openings, the newest first, at most so many.
	Openings(ctx context.Context, most int) ([]Opening, error)
	// Update reads an opening, lets change alter it, and writes that, in one transaction. An error of change is returned,
	// and nothing is written. NotFound.
	Update(ctx context.Context, id string, change func(*Opening) error) (Opening, error)
}

// A Service keeps the rules. Its fields are set before its first use.
type Service struct {
	Store     Store
	Approvals *approval.Service
	// Within reports whether somebody is one of these subjects.
	Within func(ctx context.Context, who sallyport.PrincipalID, subjects []string) (bool, error)
	// Assign gives a role until a time and returns the assignment's id; Unassign takes it away.
	Assign   func(ctx context.Context, who sallyport.PrincipalID, d Definition, until time.Time) (string, error)
	Unassign func(ctx context.Context, id string) error
	// Note writes an event down, durably, before what it tells of happens.
	Note  func(ctx context.Context, e sallyport.Event) error
	Clock func() time.Time
	Rand  io.Reader
}

// Define proposes an emergency right. It is of no use until two others have approved it.
func (s *Service) Define(ctx context.Context, d Definition, by sallyport.Principal) (approval.Request, error) {
	if err := s.check(d); err != nil {
		return approval.Request{}, err
	}
	all, err := s.Store.Definitions(ctx)
	if err != nil {
		return approval.Request{}, err
	}
	if slices.ContainsFunc(all, func(x Definition) bool { return x.Name == d.Name }) {
		return approval.Request{}, sallyport.E("define break-glass", sallyport.Conflict, d.Name+" is defined already", "choose another name")
	}
	canonical, err := json.Marshal(map[string]any{"name": d.Name, "openers": d.Openers, "role": d.Role, "scope": d.Scope.String(), "seconds": int64(d.For / time.Second), "why": d.Why})
	if err != nil {
		return approval.Request{}, err
	}
	r, err := s.Approvals.Ask(ctx, approval.Request{Topic: TopicSeal, Asker: by.ID, AskerPerson: by.Person, Need: Need, Canonical: canonical,
		Subject:   clip(fmt.Sprintf("break-glass %s: %s may become %s on %s for %v", d.Name, strings.Join(d.Openers, ", "), d.Role, d.Scope, d.For)),
		Approvers: "people who may approve grants on " + d.Scope.String(), Expires: s.now().Add(sealWithin)},
		func(ctx context.Context, r approval.Request) error {
			return s.note(ctx, by.ID, "defined", d.Name, map[string]string{"request": r.ID})
		})
	if err != nil {
		return approval.Request{}, err
	}
	d.By, d.At, d.Request, d.Sealed = by.ID, s.now(), r.ID, time.Time{}
	return r, s.Store.Define(ctx, d)
}

// Open asks to open. It takes a fresh proof with a hardware key of somebody who may, and two others agree.
func (s *Service) Open(ctx context.Context, name, why string, by sallyport.Principal) (Opening, error) {
	const op = "open break-glass"
	d, err := s.sealed(ctx, op, name, by.ID)
	if err != nil {
		return Opening{}, err
	}
	if by.Assurance < sallyport.Hardware || s.now().Sub(by.AuthTime) > freshProof {
		return Opening{}, sallyport.E(op, sallyport.Unknown, "this needs a proof with a hardware key, given in the last 15 minutes",
			"prove yourself with it and try again").Because(ReasonProof)
	}
	if err := oneLine(op, why); err != nil {
		return Opening{}, err
	}
	canonical, err := json.Marshal(map[string]any{"name": d.Name, "who": by.ID, "why": why})
	if err != nil {
		return Opening{}, err
	}
	r, err := s.Approvals.Ask(ctx, approval.Request{Topic: TopicOpen, Asker: by.ID, AskerPerson: by.Person, Need: Need, Canonical: canonical,
		Subject:   clip(fmt.Sprintf("open break-glass %s: %s on %s for %v, because: %s", d.Name, d.Role, d.Scope, d.For, why)),
		Approvers: "people who may approve grants on " + d.Scope.String(), Expires: s.now().Add(openWithin)},
		func(ctx context.Context, r approval.Request) error {
			return s.note(ctx, by.ID, "asks to open", d.Name, map[string]string{"opening": openingOf(r.ID), "why": why})
		})
	if err != nil {
		return Opening{}, err
	}
	o := Opening{ID: openingOf(r.ID), Name: d.Name, Who: by.ID, Person: by.Person, Why: why, Asked: s.now(), Request: r.ID, State: Asked}
	return o, s.Store.Insert(ctx, o)
}

// openingOf is the id of the opening that a request asks for.
func openingOf(request string) string { return "B-" + strings.TrimPrefix(request, "R-") }

// ReasonProof is the reason of the error of kind Unknown that asks for a fresh proof with a hardware key.
const ReasonProof = "breakglass.proof"

// Scope returns what a request of ours is about, so that the vote is permitted on it. NotFound for any other request.
func (s *Service) Scope(ctx context.Context, request string) (sallyport.Ref, error) {
	d, _, err := s.of(ctx, request)
	return d.Scope, err
}

// of finds the definition, and the opening if there is one, of a request.
func (s *Service) of(ctx context.Context, request string) (Definition, *Opening, error) {
	all, err := s.Store.Definitions(ctx)
	if err != nil {
		return Definition{}, nil, err
	}
	openings, err := s.Store.Openings(ctx, MaxList)
	if err != nil {
		return Definition{}, nil, err
	}
	for _, d := range all {
		if d.Request == request {
			return d, nil, nil
		}
		for i := range openings {
			if openings[i].Request == request && openings[i].Name == d.Name {
				return d, &openings[i], nil
			}
		}
	}
	return Definition{}, nil, sallyport.E("break-glass", sallyport.NotFound, "there is no such request for break-glass", "run 'sallyport breakglass status'")
}

// Vote casts a ballot on a definition or an opening. The last yes that is needed seals or opens.
func (s *Service) Vote(ctx context.Context, b approval.Ballot) (approval.Request, error) {
	d, o, err := s.of(ctx, b.Request)
	if err != nil {
		return approval.Request{}, err
	}
	r, err := s.Approvals.Vote(ctx, b)
	if err != nil {
		return r, err
	}
	switch {
	case r.State == approval.Denied && o != nil:
		_, err = s.Store.Update(ctx, o.ID, func(o *Opening) error { o.State = Refused; return nil })
	case r.State != approval.Approved:
	case o == nil:
		if err = s.note(ctx, b.Voter, "sealed", d.Name, map[string]string{"request": r.ID}); err == nil {
			_, err = s.Store.Seal(ctx, r.ID, s.now())
		}
	default:
		_, err = s.settle(ctx, d, o.ID, r)
	}
	return r, err
}

// Status returns every definition and the newest openings, as they stand now.
func (s *Service) Status(ctx context.Context) ([]Definition, []Opening, error) {
	all, err := s.Store.Definitions(ctx)
	if err != nil {
		return nil, nil, err
	}
	openings, err := s.Store.Openings(ctx, MaxList)
	now := s.now()
	for i := range openings {
		openings[i].State = openings[i].At(now)
	}
	return all, openings, err
}

// Holds reports whether somebody may open anything that is sealed.
func (s *Service) Holds(ctx context.Context, who sallyport.PrincipalID) (bool, error) {
	all, err := s.Store.Definitions(ctx)
	if err != nil {
		return false, err
	}
	for _, d := range all {
		if d.Sealed.IsZero() {
			continue
		}
		if ok, err := s.Within(ctx, who, d.Openers); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// sealed finds a definition that somebody may open. Who may not is told that there is none.
func (s *Service) sealed(ctx context.Context, op, name string, who sallyport.PrincipalID) (Definition, error) {
	none := sallyport.E(op, sallyport.NotFound, "there is nothing of this name that you may open", "run 'sallyport breakglass status'")
	all, err := s.Store.Definitions(ctx)
	if err != nil {
		return Definition{}, err
	}
	i := slices.IndexFunc(all, func(d Definition) bool { return d.Name == name && !d.Sealed.IsZero() })
	if i < 0 {
		return Definition{}, none
	}
	ok, err := s.Within(ctx, who, all[i].Openers)
	if err == nil && !ok {
		err = none
	}
	return all[i], err
}

func (s *Service) find(ctx context.Context, op, id string) (Opening, error) {
	openings, err := s.Store.Openings(ctx, MaxList)
	for _, o := range openings {
		if o.ID == id {
			return o, err
		}
	}
	if err == nil {
		err = sallyport.E(op, sallyport.NotFound, "there is no such opening", "run 'sallyport breakglass status'")
	}
	return Opening{}, err
}

func (s *Service) check(d Definition) error {
	const op = "define break-glass"
	if err := sallyport.CheckName(op, d.Name); err != nil {
		return err
	}
	if err := sallyport.CheckName(op, d.Role); err != nil {
		return err
	}
	if len(d.Openers) == 0 || len(d.Openers) > MaxOpeners {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%d may open it", len(d.Openers)), fmt.Sprintf("name 1 to %d people or groups", MaxOpeners))
	}
	for _, subject := range d.Openers {
		if group, ok := strings.CutPrefix(subject, "group:"); ok {
			org, name, _ := strings.Cut(group, "/")
			if sallyport.CheckName(op, org) == nil && sallyport.CheckName(op, name) == nil {
				continue
			}
		} else if id, err := sallyport.ParsePrincipalID(subject); err == nil && string(id) == subject && id.Kind() == sallyport.User {
			continue
		}
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%q may not open anything", sallyport.OneLine(subject)), "write user:NAME or group:ORG/NAME")
	}
	if ref, err := sallyport.ParseRef(d.Scope.String()); err != nil || ref != d.Scope {
		return sallyport.E(op, sallyport.Invalid, "no resource is named", "say on what: org:ORG, project:ORG/NAME, ORG/MODEL or system")
	}
	if d.For < time.Minute || d.For > MaxFor || d.For%time.Second != 0 {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("it cannot be open for %v", d.For), fmt.Sprintf("give a minute to %v", MaxFor))
	}
	return oneLine(op, d.Why)
}

func (s *Service) note(ctx context.Context, who sallyport.PrincipalID, what, name string, detail map[string]string) error {
	all := map[string]string{"what": what, "name": name}
	for k, v := range detail {
		all[k] = v
	}
	return s.Note(ctx, sallyport.Event{Type: sallyport.EventBreakGlass, Who: who, On: "breakglass:" + name, Detail: all})
}

func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Microsecond) }

func oneLine(op, why string) error {
	if strings.TrimSpace(why) == "" || len(why) > MaxWhy || slices.ContainsFunc([]rune(why), func(c rune) bool { return !unicode.IsPrint(c) }) {
		return sallyport.E(op, sallyport.Invalid, "the text cannot be kept", fmt.Sprintf("write one line of 1 to %d bytes", MaxWhy))
	}
	return nil
}

func clip(s string) string {
	if len(s) <= approval.MaxSubject {
		return s
	}
	return strings.ToValidUTF8(s[:approval.MaxSubject-3], "") + "…"
}

func join(ids []sallyport.PrincipalID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = string(id)
	}
	return strings.Join(texts, " ")
}
