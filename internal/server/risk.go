package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/habit"
	"sallyport/internal/identity/place"
	"sallyport/internal/identity/risk"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/signin"
	"sallyport/internal/plumbing/tail"
)

// A RiskConfig says how sign-ins are assessed. The zero value asks again in at most one sign-in of a hundred, and knows
// networks by their prefix and label only.
type RiskConfig struct {
	// Places are files in the MaxMind DB format: country, coordinates, network operator. None comes with the program.
	Places []string `yaml:"places"`
	// AskAtMost is the share of sign-ins that may be asked for a stronger proof, 0.01 unless said otherwise.
	AskAtMost float64 `yaml:"ask_at_most"`
	// Shared are labels of networks that many people leave from, such as a VPN: no journey is measured from or to them.
	Shared []string `yaml:"shared"`
}

func (c *RiskConfig) check() error {
	if c.AskAtMost == 0 {
		c.AskAtMost = 0.01
	}
	if c.AskAtMost < 0.0001 || c.AskAtMost > 1 {
		return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("\"risk\" may not ask in %g of sign-ins", c.AskAtMost), "write a share from 0.0001 to 1")
	}
	return nil
}

// placesEvery is how often files of places are looked at.
const placesEvery = time.Minute

// openRisk opens what is known of sign-ins, and has new ones assessed by it.
func (s *Server) openRisk(context.Context) error {
	var err error
	if s.places, err = place.Open(s.config.Risk.Places, s.logger); err != nil {
		return err
	}
	r := &s.rooms
	store := s.db.Habit()
	r.habits = &habit.Service{Store: store, Raises: store, Place: s.placed, Proves: r.proves, Sessions: r.rated,
		Rate: r.rate, Note: s.noteOnly, Share: s.config.Risk.AskAtMost, Clock: s.clock, Rand: rand.Reader, Logger: s.logger}
	r.signin.Assess = r.assess
	s.habits = &tail.Follower{Name: "sign-ins", Source: s.tailed, Types: habit.Types(), Next: store.Next, Handle: r.habits.Handle,
		Skipped: s.skipped("sign-ins"), Logger: s.logger}
	return nil
}

// tailed is the trail as followers read it.
func (s *Server) tailed(ctx context.Context, from uint64) iter.Seq2[tail.Leaf, error] {
	return func(yield func(tail.Leaf, error) bool) {
		for e, err := range s.trail.Follow(ctx, from) {
			if !yield(tail.Leaf{Seq: e.Seq, Data: e.Leaf}, err) {
				return
			}
		}
	}
}

// placed says where an address lies: by the files, else by the operator's labels.
func (s *Server) placed(addr netip.Addr) habit.Place {
	p := s.places.Find(addr)
	out := habit.Place{Prefix: place.Prefix(addr), ASN: p.ASN, Country: p.Country,
		Position: risk.Position{Known: p.Located, Latitude: p.Latitude, Longitude: p.Longitude, Radius: p.Radius}}
	if !addr.IsValid() {
		return out
	}
	label := s.config.labels.Label(addr.String())
	if out.ASN == "" && label != "" {
		out.ASN = "label:" + label
	}
	out.Shared = label != "" && slices.Contains(s.config.Risk.Shared, label)
	return out
}

// assess is the hook of the ceremony.
func (r *rooms) assess(ctx context.Context, a signin.Attempt) (signin.Assessment, error) {
	found, err := r.habits.Assess(ctx, habit.Attempt{Who: a.Member.ID, Address: a.Client.Address, Agent: a.Client.UserAgent,
		Device: a.Client.Device, Breached: a.Breached, StepUp: a.Session != ""})
	if err != nil {
		return signin.Assessment{}, err
	}
	return signin.Assessment{Score: found.Score, Reasons: habit.Names(found.Reasons), Needs: found.Needs, Hold: found.Hold, Device: a.Client.Device,
		Network: found.Login.ASN, Country: found.Login.Country, Detail: found.Detail(a.Client.Device)}, nil
}

// proves is the strongest level that somebody's proofs here can reach; none for who signs in elsewhere.
func (r *rooms) proves(ctx context.Context, who sallyport.PrincipalID) (sallyport.Assurance, error) {
	if keys, err := r.passkeys.Usable(ctx, who); err != nil || len(keys) > 0 {
		return sallyport.PhishingResistant, err
	}
	f, err := r.credentials.Store.Factors(ctx, who)
	switch {
	case sallyport.KindOf(err) == sallyport.NotFound:
		return sallyport.NoAssurance, nil
	case err != nil:
		return sallyport.NoAssurance, err
	case f.TOTP.Sealed != nil:
		return sallyport.MultiFactor, nil
	}
	return sallyport.NoAssurance, nil
}

// rated returns the live sessions of a person, of a device's owner with that device, or one session.
func (r *rooms) rated(ctx context.Context, target string) ([]habit.Live, error) {
	kind, name, _ := strings.Cut(target, ":")
	var list []session.Session
	var err error
	switch kind {
	case "session":
		var one session.Session
		if one, err = r.sessions.Get(ctx, name); err == nil {
			list = []session.Session{one}
		} else if sallyport.KindOf(err) == sallyport.Unknown {
			err = nil // it has ended
		}
	case "device":
		list, err = r.onDevice(ctx, name)
	default:
		list, err = r.sessions.List(ctx, sallyport.PrincipalID(target))
	}
	live := make([]habit.Live, len(list))
	for i, one := range list {
		live[i] = habit.Live{ID: one.ID, Who: one.Principal, Device: one.Device, Risk: one.Risk,
			Assurance: one.Assurance, Created: one.Created, Proved: one.AuthTime}
	}
	return live, err
}

// onDevice returns the live sessions that began on an enrolled device.
func (r *rooms) onDevice(ctx context.Context, id string) ([]session.Session, error) {
	devices, err := r.devices.Dump(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		if d.ID != id {
			continue
		}
		list, err := r.sessions.List(ctx, d.Owner)
		return slices.DeleteFunc(list, func(one session.Session) bool { return one.Device != id }), err
	}
	return nil, nil
}

// rate keeps a session's risk, and leaves the rest of its rating.
func (r *rooms) rate(ctx context.Context, id string, score int, reasons []string) error {
	one, err := r.sessions.Get(ctx, id)
	if err != nil {
		if sallyport.KindOf(err) == sallyport.Unknown {
			return nil // it has ended meanwhile
		}
		return err
	}
	one.Rating.Risk, one.Rating.RiskReasons = score, reasons
	return r.sessions.Rate(ctx, id, one.Rating)
}

// emails is where somebody is written to, "" where that is not known.
func (r *rooms) emails(ctx context.Context, who sallyport.PrincipalID) (string, error) {
	m, err := r.directory.Get(ctx, who)
	if err != nil || m.State != directory.Active {
		return "", err
	}
	return m.Email, nil
}
