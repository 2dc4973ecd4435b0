package server

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/identity/habit"
	"sallyport/internal/identity/heed"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/secevent"
	"sallyport/internal/identity/signals"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/tail"
	"sallyport/internal/web/admin"
	"sallyport/internal/web/api"
	websignals "sallyport/internal/web/signals"
)

// SignalsConfig says with whom events about people are shared.
type SignalsConfig struct {
	Partners []SignalPartner `yaml:"partners"`
	// Reach are networks (CIDR) beside the public Internet in which receivers and partners may be called.
	Reach  []string `yaml:"reach"`
	CAFile string   `yaml:"ca_file"` // PEM: authorities that they are trusted by, beside the system's
}

// A SignalPartner is a transmitter whose events are taken.
type SignalPartner struct {
	Name       string            `yaml:"name"`
	Issuer     string            `yaml:"issuer"`
	Audience   string            `yaml:"audience"` // of its tokens; our external URL by default
	KeysFile   string            `yaml:"jwks_file"`
	KeysURL    string            `yaml:"jwks_url"`
	Algorithms []string          `yaml:"algorithms"` // RS256, PS256 and ES256 by default
	Domains    []string          `yaml:"domains"`    // of addresses by which it may name people
	Ours       bool              `yaml:"ours"`       // it may name people as we do
	Policy     map[string]string `yaml:"policy"`     // event: record, sign-out, raise or mark
	MaxAge     time.Duration     `yaml:"max_age"`
	HeaderFile string            `yaml:"authorization_file"` // holds the Authorization header of its pushes
	PollURL    string            `yaml:"poll_url"`
	PollToken  string            `yaml:"poll_token_file"`
	PollEvery  time.Duration     `yaml:"poll_every"`
}

// signalsPrefix is the end of the audience of receivers' tokens.
const signalsPrefix = "/signals"

// below makes paths relative to dir.
func (c SignalsConfig) below(dir string) SignalsConfig {
	c.Partners = slices.Clone(c.Partners)
	paths := []*string{&c.CAFile}
	for i := range c.Partners {
		p := &c.Partners[i]
		paths = append(paths, &p.KeysFile, &p.HeaderFile, &p.PollToken)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return c
}

// partner reads what a partner's files hold.
func (c SignalPartner) partner() (websignals.Partner, error) {
	p := websignals.Partner{Partner: heed.Partner{Name: c.Name, Issuer: c.Issuer, Domains: c.Domains, Ours: c.Ours, Policy: map[secevent.Type]heed.Action{}},
		Audience: c.Audience, KeysURL: c.KeysURL, MaxAge: c.MaxAge, PollURL: c.PollURL, PollEvery: c.PollEvery}
	bad := func(text string) error {
		return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the partner %s: %s", c.Name, text), "see docs/scim-and-signals.md")
	}
	for name, action := range c.Policy {
		at := slices.IndexFunc(secevent.Types(), func(t secevent.Type) bool { return t.Name() == name })
		if at < 0 || !slices.Contains(heed.Actions(), heed.Action(action)) {
			return p, bad(fmt.Sprintf("there is no event %q or no action %q", name, action))
		}
		p.Policy[secevent.Types()[at]] = heed.Action(action)
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(jose.ForeignAlgorithms(), jose.Algorithm(a)) {
			return p, bad(fmt.Sprintf("the algorithm %q is not accepted", a))
		}
		p.Algorithms = append(p.Algorithms, jose.Algorithm(a))
	}
	if c.KeysFile != "" {
		raw, err := os.ReadFile(c.KeysFile)
		if err != nil {
			return p, bad("its key set cannot be read")
		}
		if p.Keys, err = jose.ParseSet(raw); err != nil {
			return p, err
		}
	}
	var err error
	if p.Authorization, err = readSecret(c.HeaderFile); err != nil {
		return p, err
	}
	p.PollToken, err = readSecret(c.PollToken)
	return p, err
}

// signalsClient calls receivers and partners: on the public Internet, or where the
// operator says.
func (c SignalsConfig) client() (*http.Client, error) {
	var reach []netip.Prefix
	for _, text := range c.Reach {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("%q is no network", text), "write CIDR, such as 10.1.0.0/16")
		}
		reach = append(reach, p)
	}
	client := httpsafe.Client(func(a netip.AddrPort) bool {
		return httpsafe.Global(a.Addr()) || slices.ContainsFunc(reach, func(p netip.Prefix) bool { return p.Contains(a.Addr()) })
	}, 4)
	if c.CAFile == "" {
		return client, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, sallyport.Wrap("configuration", sallyport.Invalid, "\"signals: ca_file\" cannot be read", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, sallyport.E("configuration", sallyport.Invalid, "\"signals: ca_file\" holds no certificate", "write it in PEM")
	}
	client.Transport = trusting(client, roots)
	return client, nil
}

// openSignals makes the rooms and doors of shared signals.
func (s *Server) openSignals(mux *http.ServeMux) error {
	r, store := &s.rooms, s.db.Signals()
	seal := func(text []byte, c string) ([]byte, error) { return s.box.seal(text, label(c)), nil }
	open := func(text []byte, c string) ([]byte, error) { return s.box.open(text, label(c)) }
	streams := &signals.Service{Streams: store, Queue: store, Issuer: s.config.External, Keys: &signals.Keys{Store: store, Seal: seal, Open: open, Now: s.clock},
		Owner: func(ctx context.Context, id string) sallyport.PrincipalID {
			x, err := r.sessions.Get(ctx, id)
			if err != nil {
				return s.whose(ctx, id)
			}
			return x.Principal
		},
		Org: s.orgOf, Seal: seal, Open: open, Note: s.noteOnly, Now: s.clock, Random: rand.Reader}
	heeds := &heed.Service{Directory: r.directory, Sessions: r.sessions, Tokens: r.tokens, Devices: r.devices, Note: s.noteOnly, Self: s.config.External,
		Raise: func(ctx context.Context, target string, points int, why string, fade time.Duration) error {
			_, err := r.habits.Raise(ctx, target, habit.Measure{Points: points, Fade: fade}, why)
			return err
		},
		Enforce: func(ctx context.Context) error {
			err := s.facts.Sync(ctx)
			s.guard.Sweep(ctx, 0)
			return err
		}}
	var partners []websignals.Partner
	for _, c := range s.config.Signals.Partners {
		p, err := c.partner()
		if err != nil {
			return err
		}
		partners = append(partners, p)
	}
	send, err := s.config.Signals.client()
	if err != nil {
		return err
	}
	doors, err := websignals.New(websignals.Config{Guard: s.guard, Audience: s.config.External + signalsPrefix, External: s.config.External,
		Streams: streams, Heed: heeds, Partners: partners, Org: s.orgOf, Send: send, Now: s.clock, Logger: s.logger})
	if err != nil {
		return err
	}
	doors.Register(mux)
	s.signals = signalsAtWork{streams: streams, doors: doors,
		follower: &tail.Follower{Name: "signals", Source: s.tailed, Types: secevent.Sources(), Next: store.Next, Handle: streams.Handle, Logger: s.logger}}
	return nil
}

// signalsAtWork follow the trail, push and poll.
type signalsAtWork struct {
	streams  *signals.Service
	doors    *websignals.Doors
	follower *tail.Follower
}

// whose returns the principal of a session that has ended.
func (s *Server) whose(ctx context.Context, id string) sallyport.PrincipalID {
	all, err := s.rooms.sessions.Revoked(ctx, s.clock().Add(-24*time.Hour))
	if err != nil {
		return ""
	}
	for _, x := range all {
		if x.ID == id {
			return x.Principal
		}
	}
	return ""
}

// orgOf returns the organisation of a principal, "" for nobody.
func (s *Server) orgOf(id sallyport.PrincipalID) string {
	m, _ := s.facts.Snapshot().Member(id)
	return m.Org
}

// adminSignals is what the management API shows and does of shared signals.
func (s *Server) adminSignals() admin.Signals {
	return admin.Signals{
		Streams: func(ctx context.Context) ([]api.SignalStream, error) {
			all, err := s.signals.streams.Streams.Streams(ctx)
			out := []api.SignalStream{}
			for _, x := range all {
				_, waiting, werr := s.signals.streams.Queue.Waiting(ctx, x.ID, s.clock(), 1)
				if werr != nil {
					return nil, werr
				}
				one := api.SignalStream{ID: x.ID, Owner: x.Owner, Org: x.Org, Method: x.Method, URL: x.URL, Status: string(x.Status), Reason: x.Reason, Waiting: waiting, Created: x.Created}
				for _, t := range x.Delivered() {
					one.Events = append(one.Events, secevent.Type(t).Name())
				}
				out = append(out, one)
			}
			return out, err
		},
		Partners: func(context.Context) ([]api.SignalPartner, error) {
			out := []api.SignalPartner{}
			for _, p := range s.config.Signals.Partners {
				one := api.SignalPartner{Name: p.Name, Issuer: p.Issuer, Push: s.config.External + websignals.Prefix + "/receive/" + p.Name, Poll: p.PollURL, Policy: map[string]string{}}
				for _, t := range secevent.Types() {
					one.Policy[t.Name()] = string(heed.Default(t))
				}
				maps.Copy(one.Policy, p.Policy)
				out = append(out, one)
			}
			return out, nil
		},
		Test: func(ctx context.Context, id string) error {
			all, err := s.signals.streams.Streams.Streams(ctx)
			if err != nil {
				return err
			}
			for _, x := range all {
				if x.ID == id {
					return s.signals.streams.Verify(ctx, x, "test")
				}
			}
			return sallyport.E("test stream", sallyport.NotFound, "there is no such stream", "list them with 'sallyport signals streams'")
		},
	}
}
