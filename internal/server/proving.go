package server

import (
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"sallyport"
	"sallyport/internal/identity/blocklist"
	"sallyport/internal/identity/recovery"
	"sallyport/internal/identity/session"
)

// Proving says how people prove themselves, and how long a proof counts.
type Proving struct {
	// AssuranceProfile is aal2 (the default) or aal3: how long sessions last, and how fresh a proof must be.
	AssuranceProfile string `yaml:"assurance_profile"`
	// Blocklist is a file of 'sallyport blocklist build'; "" = only the list that the program brings.
	Blocklist string       `yaml:"blocklist"`
	Recovery  RecoveryRule `yaml:"recovery"`

	profile session.Profile
}

// A RecoveryRule says how people get back in after they lost their last factor.
type RecoveryRule struct {
	Delay time.Duration `yaml:"delay"` // from the second approval to the link; 24h by default, an hour at least
}

const (
	usualDelay = 24 * time.Hour
	leastDelay = time.Hour // so that the person can hear of it
)

// files are the paths that are relative to the configuration's file.
func (p *Proving) files() []*string { return []*string{&p.Blocklist} }

func (p *Proving) check() error {
	var err error
	if p.profile, err = session.ProfileNamed(p.AssuranceProfile); err != nil {
		return err
	}
	if p.Recovery.Delay == 0 {
		p.Recovery.Delay = usualDelay
	}
	if p.Recovery.Delay < leastDelay || p.Recovery.Delay > 5*24*time.Hour {
		return sallyport.E("configuration", sallyport.Invalid, "\"recovery: delay\" is not between 1h and 120h", "24h is usual")
	}
	return nil
}

// openProving completes the rooms of proof: what is optional, and what the configuration sets.
func (s *Server) openProving() error {
	r := &s.rooms
	r.sessions.Limits = s.config.profile.Limits
	r.recovery = &recovery.Service{Store: s.db.Recovery(), Delay: s.config.Recovery.Delay, Throttle: r.throttle.Try, Right: r.throttle.Reset,
		Person: r.person, Now: s.steady.Now, Random: rand.Reader}
	return s.openBlocklist()
}

// openBlocklist opens the list of breached passwords, which stays open: it may be larger than memory.
func (s *Server) openBlocklist() error {
	if s.config.Blocklist == "" {
		return nil
	}
	f, err := os.Open(s.config.Blocklist)
	if err != nil {
		return sallyport.Wrap("open blocklist", sallyport.Invalid, fmt.Sprintf("the file %s cannot be opened", s.config.Blocklist), err)
	}
	s.closers = append(s.closers, f.Close)
	about, err := f.Stat()
	if err != nil {
		return err
	}
	list, err := blocklist.Open(f, about.Size())
	if err != nil {
		return err
	}
	s.rooms.credentials.Breached = func(password []byte) (bool, error) { return list.Has(blocklist.Sum(password)) }
	return nil
}
