package server

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/blocklist"
	"sallyport/internal/identity/passkey"
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
	Passkeys  PasskeyRule  `yaml:"passkeys"`

	profile session.Profile
}

// A RecoveryRule says how people get back in after they lost their last factor.
type RecoveryRule struct {
	Delay time.Duration `yaml:"delay"` // from the second approval to the link; 24h by default, an hour at least
	// Recoverers may approve beside those who administer identities: user:NAME or group:ORG/NAME. Empty names nobody.
	Recoverers []string `yaml:"recoverers"`
}

// mostRecoverers bounds the list.
const mostRecoverers = 32

func (r *RecoveryRule) check() error {
	if len(r.Recoverers) > mostRecoverers {
		return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("\"recovery: recoverers\" names %d", len(r.Recoverers)), fmt.Sprintf("name %d at most, or a group", mostRecoverers))
	}
	for _, subject := range r.Recoverers {
		group, isGroup := strings.CutPrefix(subject, "group:")
		org, name, _ := strings.Cut(group, "/")
		id, err := sallyport.ParsePrincipalID(subject)
		if isGroup && sallyport.CheckName("", org) == nil && sallyport.CheckName("", name) == nil || !isGroup && err == nil && string(id) == subject && id.Kind() == sallyport.User {
			continue
		}
		return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("%.80q of \"recovery: recoverers\" is nobody", subject), "write user:NAME or group:ORG/NAME")
	}
	return nil
}

// A PasskeyRule says which passkeys are accepted, and which count as hardware.
type PasskeyRule struct {
	// Accept is any (the default), device-bound (none that is copied to other devices) or listed (models of the list only).
	Accept string         `yaml:"accept"`
	Models []PasskeyModel `yaml:"models"` // the list: an empty one makes no passkey hardware
	// Metadata is a file with a FIDO metadata BLOB, MetadataRoot the PEM certificate of who signs it.
	Metadata     string `yaml:"metadata"`
	MetadataRoot string `yaml:"metadata_root"`
}

// A PasskeyModel is one model of authenticators whose keys count as hardware.
type PasskeyModel struct {
	AAGUID string `yaml:"aaguid"`
	Name   string `yaml:"name"`
	Roots  string `yaml:"roots"` // PEM file with the roots of its attestation, where no metadata names them
}

const (
	usualDelay = 24 * time.Hour
	leastDelay = time.Hour // so that the person can hear of it
)

// files are the paths that are relative to the configuration's file.
func (p *Proving) files() []*string {
	all := []*string{&p.Blocklist, &p.Passkeys.Metadata, &p.Passkeys.MetadataRoot}
	p.Passkeys.Models = slices.Clone(p.Passkeys.Models)
	for i := range p.Passkeys.Models {
		all = append(all, &p.Passkeys.Models[i].Roots)
	}
	return all
}

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
	return p.Recovery.check()
}

// openProving completes the rooms of proof: what is optional, and what the configuration sets.
func (s *Server) openProving() error {
	r := &s.rooms
	r.sessions.Limits = s.config.profile.Limits
	r.recovery = &recovery.Service{Store: s.db.Recovery(), Delay: s.config.Recovery.Delay, Throttle: r.throttle.Try, Right: r.throttle.Reset,
		Person: r.person, Now: s.steady.Now, Random: rand.Reader,
		Named: func(ctx context.Context, who sallyport.PrincipalID) (bool, error) {
			return r.within(ctx, who, s.config.Recovery.Recoverers)
		}}
	var err error
	if r.passkeys, err = s.openPasskeys(); err != nil {
		return err
	}
	r.signin.Passkeys, r.signin.Recovery, r.signin.Fresh = r.passkeys, r.recovery, s.config.profile.Fresh
	return s.openBlocklist()
}

func (s *Server) openPasskeys() (*passkey.Service, error) {
	rule := s.config.Passkeys
	c := passkey.Config{URL: s.config.External, Name: "Sallyport", Accept: passkey.Acceptance(rule.Accept), Store: s.db.Passkey(),
		Seal: func(v []byte, c string) ([]byte, error) { return s.box.seal(v, label(c)), nil },
		Open: func(v []byte, c string) ([]byte, error) { return s.box.open(v, label(c)) }, Now: s.steady.Now, Random: rand.Reader}
	for _, m := range rule.Models {
		model := passkey.Model{AAGUID: m.AAGUID, Name: m.Name}
		if m.Roots != "" {
			var err error
			if model.Roots, err = readCertificates(m.Roots); err != nil {
				return nil, err
			}
		}
		c.Models = append(c.Models, model)
	}
	var err error
	if c.Metadata, err = s.passkeyMetadata(rule); err != nil {
		return nil, err
	}
	return passkey.New(c)
}

// passkeyMetadata reads the file that the configuration names. An old one is used, and said to be old: refusing it would
// take the knowledge of broken models away.
func (s *Server) passkeyMetadata(rule PasskeyRule) (*passkey.Metadata, error) {
	const op = "read passkey metadata"
	if rule.Metadata == "" && rule.MetadataRoot == "" {
		return nil, nil
	}
	if rule.Metadata == "" || rule.MetadataRoot == "" {
		return nil, sallyport.E(op, sallyport.Invalid, "\"metadata\" and \"metadata_root\" go together", "name the publisher's root certificate")
	}
	roots, err := readCertificates(rule.MetadataRoot)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(rule.Metadata)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, fmt.Sprintf("the file %s cannot be opened", rule.Metadata), err)
	}
	defer f.Close()
	blob, err := io.ReadAll(io.LimitReader(f, passkey.MaxMetadata+1))
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, fmt.Sprintf("the file %s cannot be read", rule.Metadata), err)
	}
	m, err := passkey.ParseMetadata(blob, roots[0], s.clock())
	if err != nil {
		return nil, err
	}
	read, broken := m.Models()
	s.logger.Info("passkey metadata", "number", m.Number, "models", read, "unreadable", broken, "next", m.Next.Format(time.DateOnly))
	if s.clock().After(m.Next) {
		s.logger.Warn("the passkey metadata is out of date: fetch the next one", "next", m.Next.Format(time.DateOnly))
	}
	return m, nil
}

// readCertificates reads a PEM file that holds certificates, one at least.
func readCertificates(path string) ([]*x509.Certificate, error) {
	const op = "read certificates"
	f, err := os.Open(path)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, fmt.Sprintf("the file %s cannot be opened", path), err)
	}
	defer f.Close()
	rest, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, fmt.Sprintf("the file %s cannot be read", path), err)
	}
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, sallyport.Wrap(op, sallyport.Invalid, fmt.Sprintf("the file %s holds something else than certificates", path), err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the file %s holds no certificate", path), "write PEM")
	}
	return all, nil
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
