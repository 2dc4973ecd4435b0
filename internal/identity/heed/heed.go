// Package heed owns what the word of a partner does here: a security event (CAEP
// 1.0) of a transmitter that the operator trusts ends sessions, raises the risk of a
// person or marks a device, as the policy for that transmitter says (continuous
// access evaluation; NIST SP 800-207, section 2.1, tenet 6).
//
// There is no action that locks anybody out: what somebody else says costs at most
// a new sign-in. Every event is recorded before it does anything, also one that does
// nothing.
//
// It leaves tokens to identity/secevent, transport to web/signals, and records to
// their rooms.
package heed

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/secevent"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/token"
)

// An Action is what is done about an event. The set is closed, and no action locks.
type Action string

// The actions.
const (
	Record  Action = "record"   // nothing more
	SignOut Action = "sign-out" // ends the sessions that are meant, with their logins: the person signs in again
	Raise   Action = "raise"    // raises the risk, which fades: policies ask for more proof
	Mark    Action = "mark"     // marks the device as complying or not
)

// Actions returns all actions.
func Actions() []Action { return []Action{Record, SignOut, Raise, Mark} }

// Default is what is done about an event where the operator says nothing.
func Default(t secevent.Type) Action {
	switch t {
	case secevent.SessionRevoked, secevent.CredentialChange, secevent.AssuranceLevelChange:
		return SignOut
	case secevent.RiskLevelChange:
		return Raise
	case secevent.DeviceComplianceChange:
		return Mark
	}
	return Record
}

// A Partner is a transmitter that the operator trusts with some of our people.
type Partner struct {
	Name   string
	Issuer string
	// Domains are those of the addresses by which the partner may name people; empty: by issuer and subject alone.
	Domains []string
	// Ours lets the partner name people as we do, as one that hears our streams can. Otherwise it speaks for those who
	// are linked to its own issuer.
	Ours   bool
	Policy map[secevent.Type]Action // instead of Default
}

// The points that a partner's risk levels are, and how long they take to fade.
const (
	mediumPoints = 30
	highPoints   = 60
	fade         = 24 * time.Hour
)

// A Service carries partners' events out. Its fields are set before its first use
// and all needed.
type Service struct {
	Directory *directory.Service
	Sessions  *session.Service
	Tokens    *token.Issuer
	Devices   *device.Service
	// Raise holds points against a person, a session or a device, which fade.
	Raise func(ctx context.Context, target string, points int, why string, fade time.Duration) error
	// Enforce brings what changed into force.
	Enforce func(ctx context.Context) error
	Note    func(ctx context.Context, e sallyport.Event) error
	// Self is our own issuer: a partner may name people as we do.
	Self string
}

// Heed records a partner's event and does what the policy says. It returns what was
// done, in words; an event about nobody here is recorded and does nothing.
func (s *Service) Heed(ctx context.Context, p Partner, t secevent.Token) (string, error) {
	ctx = context.WithoutCancel(ctx)
	who, err := s.who(ctx, p, t.Event)
	if err != nil {
		return "", err
	}
	action, set := p.Policy[t.Event.Type]
	if !set {
		action = Default(t.Event.Type)
	}
	if who == "" && action != Mark || improves(t.Event) && action != Mark {
		action = Record
	}
	e := sallyport.Event{Type: sallyport.EventSignalReceived, Who: who, On: string(who), Detail: map[string]string{"partner": p.Name, "issuer": sallyport.OneLine(t.Issuer),
		"jti": sallyport.OneLine(t.ID), "event": t.Event.Type.Name(), "action": string(action), "why": sallyport.OneLine(t.Event.Admin)}}
	if action == SignOut {
		if e.Detail["ends"], err = s.ends(ctx, p, t.Event, who); err != nil {
			return "", err
		}
	}
	if err := s.Note(ctx, e); err != nil {
		return "", err
	}
	did, err := s.act(ctx, p, t, action, who)
	if err != nil {
		return "", err
	}
	return did, s.Enforce(ctx)
}

// improves reports an event that tells of more trust than before: nothing is ended
// for it.
func improves(e secevent.Event) bool {
	return e.Type == secevent.AssuranceLevelChange && e.Fields["change_direction"] == "increase" ||
		e.Type == secevent.CredentialChange && e.Fields["change_type"] == "create" ||
		e.Type == secevent.RiskLevelChange && e.Fields["current_level"] == "LOW"
}

func (s *Service) act(ctx context.Context, p Partner, t secevent.Token, action Action, who sallyport.PrincipalID) (string, error) {
	why := fmt.Sprintf("%s says: %s", p.Name, t.Event.Type.Name())
	if t.Event.Admin != "" {
		why += ", " + sallyport.OneLine(t.Event.Admin)
	}
	why = strings.ToValidUTF8(why[:min(len(why), 200)], "")
	switch action {
	case SignOut:
		return s.signOut(ctx, p, t.Event, who, why)
	case Raise:
		points := mediumPoints
		if t.Event.Fields["current_level"] == "HIGH" {
			points = highPoints
		}
		return strconv.Itoa(points) + " points on " + string(who), s.Raise(ctx, string(who), points, why, fade)
	case Mark:
		return s.mark(ctx, p, t.Event, why)
	}
	return "recorded", nil
}

// signOut ends the session that is meant, where it is one of the partner's, or all
// of the person.
func (s *Service) signOut(ctx context.Context, p Partner, e secevent.Event, who sallyport.PrincipalID, why string) (string, error) {
	if part, ok := e.Subject.Part("session"); ok && part.Fields["id"] != "" && e.Type == secevent.SessionRevoked {
		ended, err := s.Sessions.RevokeUpstream(ctx, session.Upstream{IdP: p.Issuer, Session: part.Fields["id"]}, why)
		if err != nil {
			return "", err
		}
		for _, id := range ended {
			if _, err := s.Tokens.RevokeBySession(ctx, id, why); err != nil {
				return "", err
			}
		}
		if len(ended) > 0 {
			return fmt.Sprintf("ended %d sessions of %s", len(ended), who), nil
		}
	}
	ended, err := s.Sessions.RevokeAll(ctx, who, why)
	if err != nil {
		return "", err
	}
	families, err := s.Tokens.RevokeByPrincipal(ctx, who, why)
	return fmt.Sprintf("ended %d sessions and %d logins of %s", len(ended), len(families), who), err
}

// mostEnds bounds the sessions and logins that a record names.
const mostEnds = 64

// ends names what signing somebody out will end, for the record before it.
func (s *Service) ends(ctx context.Context, p Partner, e secevent.Event, who sallyport.PrincipalID) (string, error) {
	var ids []string
	if part, ok := e.Subject.Part("session"); ok && part.Fields["id"] != "" && e.Type == secevent.SessionRevoked {
		meant, err := s.Sessions.FromUpstream(ctx, session.Upstream{IdP: p.Issuer, Session: part.Fields["id"]})
		if err != nil {
			return "", err
		}
		for _, x := range meant {
			if x.Live(s.Tokens.Now()) {
				ids = append(ids, x.ID)
			}
		}
	}
	if len(ids) == 0 {
		all, err := s.Sessions.List(ctx, who)
		if err != nil {
			return "", err
		}
		families, err := s.Tokens.Families.Families(ctx, token.Selector{Principal: who})
		if err != nil {
			return "", err
		}
		for _, x := range all {
			ids = append(ids, x.ID)
		}
		for _, f := range families {
			if f.Live(s.Tokens.Now()) {
				ids = append(ids, f.ID)
			}
		}
	}
	return strings.Join(ids[:min(len(ids), mostEnds)], " "), nil
}

// mark marks a device of somebody for whom the partner speaks. Any other device is to it one that is not there.
func (s *Service) mark(ctx context.Context, p Partner, e secevent.Event, why string) (string, error) {
	part, ok := e.Subject.Part("device")
	if !ok && e.Subject.Format == "opaque" {
		part = e.Subject
	}
	id := part.Fields["id"]
	if e.Type != secevent.DeviceComplianceChange || !strings.HasPrefix(id, "DV-") {
		return "no device of ours is named", nil
	}
	d, err := s.Devices.Get(ctx, id, "")
	known := err == nil
	if known {
		known, err = s.speaksFor(ctx, p, d.Owner)
	}
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return "", err
	}
	if !known {
		return "the device is not enrolled, or nobody's for whom the partner speaks", nil
	}
	_, err = s.Devices.Comply(ctx, id, e.Fields["current_status"] == "compliant", why)
	return "marked " + id + " as " + sallyport.OneLine(e.Fields["current_status"]), err
}

// speaksFor reports whether a partner may name the person who answers for a principal: as one of ours, as one of its own,
// or by an address.
func (s *Service) speaksFor(ctx context.Context, p Partner, id sallyport.PrincipalID) (bool, error) {
	m, err := s.Directory.Get(ctx, id)
	if err == nil && m.Person != m.ID {
		m, err = s.Directory.Get(ctx, m.Person)
	}
	if err != nil || p.Ours {
		return err == nil, err
	}
	if slices.ContainsFunc(m.Identities, func(i directory.Identity) bool { return i.Issuer == p.Issuer }) {
		return true, nil
	}
	who, err := s.byAddress(ctx, p, m.Email)
	return who != "" && who == m.ID, err
}

// who returns the person whom an event is about, "" where it is nobody of ours.
func (s *Service) who(ctx context.Context, p Partner, e secevent.Event) (sallyport.PrincipalID, error) {
	user, ok := e.Subject.Part("user")
	if !ok {
		return "", nil
	}
	switch user.Format {
	case "iss_sub":
		if user.Fields["iss"] == s.Self && p.Ours {
			m, err := s.Directory.Get(ctx, sallyport.PrincipalID(user.Fields["sub"]))
			return found(m, err)
		}
		if user.Fields["iss"] != p.Issuer {
			return "", nil // a partner speaks for its own people
		}
		m, err := s.Directory.ByIdentity(ctx, p.Issuer, user.Fields["sub"])
		return found(m, err)
	case "email":
		return s.byAddress(ctx, p, user.Fields["email"])
	}
	return "", nil
}

func found(m directory.Member, err error) (sallyport.PrincipalID, error) {
	if sallyport.KindOf(err) == sallyport.NotFound && err != nil || err == nil && m.ID.Kind() != sallyport.User {
		return "", nil
	}
	return m.ID, err
}

// byAddress finds the one person with an address of a domain of the partner's.
func (s *Service) byAddress(ctx context.Context, p Partner, address string) (sallyport.PrincipalID, error) {
	address = strings.ToLower(address)
	_, domain, ok := strings.Cut(address, "@")
	if !ok || !slices.Contains(p.Domains, domain) {
		return "", nil
	}
	all, err := s.Directory.List(ctx)
	if err != nil {
		return "", err
	}
	var who sallyport.PrincipalID
	for _, m := range all {
		if strings.ToLower(m.Email) != address || m.ID.Kind() != sallyport.User || m.Person != m.ID {
			continue
		}
		if who != "" {
			return "", nil // two have it: it names nobody
		}
		who = m.ID
	}
	return who, nil
}
