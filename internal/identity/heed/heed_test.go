package heed_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/heed"
	"sallyport/internal/identity/secevent"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/token"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/sqldb/sqldbtest"
)

const idp = "https://idp.example"

var (
	noon    = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	partner = heed.Partner{Name: "idp", Issuer: idp, Domains: []string{"acme.example"}}
)

// A world is Ana, whom the partner knows as "a1", with a session and a login, on real rooms and a store that can fail.
type world struct {
	*heed.Service
	t      *testing.T
	db     *sqldb.DB
	power  *sqldbtest.Breaker
	events []sallyport.Event
	raised []string
}

func newWorld(t *testing.T) *world {
	w, path, ctx := &world{t: t}, filepath.Join(t.TempDir(), "h.db"), t.Context()
	var err, berr error
	w.db, err = sqldbtest.Open(ctx, path)
	w.power, berr = sqldbtest.NewBreaker(ctx, path)
	must(t, err, berr)
	t.Cleanup(func() { w.db.Close(); w.power.Close() })
	now := func() time.Time { return noon }
	note := func(ctx context.Context, e sallyport.Event) error {
		if err := w.power.Step(ctx, "record"); err != nil {
			return err
		}
		w.events = append(w.events, e)
		return nil
	}
	w.Service = &heed.Service{Directory: &directory.Service{Store: w.db.Directory(), Now: now},
		Sessions: &session.Service{Store: w.db.Session(), Limits: session.DefaultLimits(), Now: now, Random: rand.Reader},
		Tokens:   &token.Issuer{Families: w.db.Token(), Now: now, Rand: rand.Reader}, Devices: &device.Service{Store: w.db.Device(), Now: now, Note: note},
		Raise: func(ctx context.Context, target string, points int, _ string, _ time.Duration) error {
			w.raised = append(w.raised, fmt.Sprint(target, " ", points))
			return w.power.Step(ctx, "raise")
		},
		Enforce: func(ctx context.Context) error { return w.power.Step(ctx, "enforce") }, Note: note, Self: "https://sally.acme.example"}
	for _, m := range []directory.Member{{ID: "user:ana", Email: "Ana@acme.example", Identities: []directory.Identity{{Issuer: idp, Subject: "a1"}}},
		{ID: "user:bob", Email: "both@acme.example"}, {ID: "user:eva", Email: "both@acme.example"}} {
		m.Org = "acme"
		_, err := w.Directory.Create(ctx, m)
		must(t, err)
	}
	must(t, w.db.Device().Insert(ctx, device.Device{ID: "DV-1", Owner: "user:ana", Name: "laptop", Class: device.Standard, Level: device.Software,
		Keys: device.Keys{SPKI: "s", JKT: "j"}, State: device.Active, Created: noon, Seen: noon}, 9))
	return w
}

// signsIn starts a session at the partner's, and a login of a program beside it.
func (w *world) signsIn(at string) (bearer secret.Text, family string) {
	w.t.Helper()
	b, _, err := w.Sessions.Start(w.t.Context(), session.Proof{Principal: "user:ana", Person: "user:ana", Assurance: sallyport.MultiFactor, Methods: []string{"pwd"},
		Upstream: session.Upstream{IdP: idp, Session: at}})
	must(w.t, err)
	family = rand.Text()
	must(w.t, w.Tokens.Families.StartFamily(w.t.Context(), token.Family{ID: family, Principal: "user:ana", Person: "user:ana", Client: "cli", Audiences: []string{"a"},
		Created: noon, Expires: noon.Add(time.Hour)}))
	return b, family
}

func (w *world) live(b secret.Text, family string) (is []bool) {
	w.t.Helper()
	_, err := w.Sessions.Lookup(w.t.Context(), b)
	f, ferr := w.Tokens.Families.Families(w.t.Context(), token.Selector{Family: family})
	must(w.t, ferr)
	return []bool{err == nil, f[0].Revoked.IsZero()}
}

func says(t secevent.Type, s secevent.Subject, fields ...string) secevent.Token {
	e := secevent.Event{Type: t, Subject: s, Admin: "why\nnot", Fields: map[string]string{}}
	for i := 0; i+1 < len(fields); i += 2 {
		e.Fields[fields[i]] = fields[i+1]
	}
	return secevent.Token{Issuer: idp, ID: "j1", Issued: noon, Event: e}
}

var ana = secevent.IssSub(idp, "a1")

func email(address string) secevent.Subject {
	return secevent.Subject{Format: "email", Fields: map[string]string{"email": address}}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// What each event does, to whom, under which policy. Whatever it is, it is recorded once, before anything is done.
func TestWhatEventsDo(t *testing.T) {
	w := newWorld(t)
	laptop := secevent.Subject{Format: "opaque", Fields: map[string]string{"id": "DV-1"}}
	other := laptop
	other.Fields = map[string]string{"id": "DV-9"}
	shared := laptop
	shared.Fields = map[string]string{"id": "DV-2"}
	must(t, w.db.Device().Insert(t.Context(), device.Device{ID: "DV-2", Owner: "user:bob", Name: "phone", Class: device.Standard, Level: device.Software,
		Keys: device.Keys{SPKI: "s2", JKT: "j2"}, State: device.Active, Created: noon, Seen: noon}, 9))
	locks := partner
	locks.Policy = map[secevent.Type]heed.Action{secevent.RiskLevelChange: heed.SignOut, secevent.SessionRevoked: heed.Record}
	ours := partner
	ours.Ours = true
	stranger := heed.Partner{Name: "idp", Issuer: "https://other.example", Domains: []string{"other.example"}}
	byDomain, allOurs := stranger, stranger
	byDomain.Domains, allOurs.Ours = partner.Domains, true
	for name, x := range map[string]struct {
		by    heed.Partner
		event secevent.Token
		did   string // how it begins
		ended bool
	}{
		"revoked":                            {partner, says(secevent.SessionRevoked, ana), "ended 1 sessions and 1 logins", true},
		"a credential changed":               {partner, says(secevent.CredentialChange, ana, "change_type", "revoke"), "ended 1", true},
		"a credential more":                  {partner, says(secevent.CredentialChange, ana, "change_type", "create"), "recorded", false},
		"less assurance":                     {partner, says(secevent.AssuranceLevelChange, ana, "change_direction", "decrease"), "ended 1", true},
		"more assurance":                     {partner, says(secevent.AssuranceLevelChange, ana, "change_direction", "increase"), "recorded", false},
		"high risk":                          {partner, says(secevent.RiskLevelChange, ana, "current_level", "HIGH"), "60 points on user:ana", false},
		"some risk":                          {partner, says(secevent.RiskLevelChange, ana, "current_level", "MEDIUM"), "30 points", false},
		"no risk":                            {partner, says(secevent.RiskLevelChange, ana, "current_level", "LOW"), "recorded", false},
		"risk, by policy":                    {locks, says(secevent.RiskLevelChange, ana, "current_level", "HIGH"), "ended 1", true},
		"revoked, by policy nothing":         {locks, says(secevent.SessionRevoked, ana), "recorded", false},
		"by address":                         {partner, says(secevent.SessionRevoked, email("ANA@acme.example")), "ended 1", true},
		"an address of two":                  {partner, says(secevent.SessionRevoked, email("both@acme.example")), "recorded", false},
		"another domain":                     {partner, says(secevent.SessionRevoked, email("ana@evil.example")), "recorded", false},
		"no address":                         {partner, says(secevent.SessionRevoked, email("ana")), "recorded", false},
		"nobody":                             {partner, says(secevent.SessionRevoked, secevent.IssSub(idp, "a2")), "recorded", false},
		"another issuer's":                   {partner, says(secevent.SessionRevoked, secevent.IssSub("https://other.example", "a1")), "recorded", false},
		"ours, not trusted so far":           {partner, says(secevent.SessionRevoked, secevent.IssSub("https://sally.acme.example", "user:ana")), "recorded", false},
		"ours":                               {ours, says(secevent.SessionRevoked, secevent.IssSub("https://sally.acme.example", "user:ana")), "ended 1", true},
		"ours, a thing":                      {ours, says(secevent.SessionRevoked, secevent.IssSub("https://sally.acme.example", "group:x")), "recorded", false},
		"a device":                           {partner, says(secevent.DeviceComplianceChange, laptop, "current_status", "not-compliant"), "marked DV-1 as not-compliant", false},
		"a device, by its owner's address":   {byDomain, says(secevent.DeviceComplianceChange, laptop, "current_status", "not-compliant"), "marked DV-1 as not-compliant", false},
		"a device, by one trusted with ours": {allOurs, says(secevent.DeviceComplianceChange, laptop, "current_status", "not-compliant"), "marked DV-1 as not-compliant", false},
		"a device of somebody else's people": {stranger, says(secevent.DeviceComplianceChange, laptop, "current_status", "not-compliant"), "the device is not enrolled", false},
		"a device of two people's address":   {byDomain, says(secevent.DeviceComplianceChange, shared, "current_status", "not-compliant"), "the device is not enrolled", false},
		"no device of ours":                  {partner, says(secevent.DeviceComplianceChange, other, "current_status", "not-compliant"), "the device is not enrolled", false},
		"a device without a name":            {partner, says(secevent.DeviceComplianceChange, ana, "current_status", "not-compliant"), "no device of ours", false},
	} {
		_, err := w.Sessions.RevokeAll(t.Context(), "user:ana", "before")
		must(t, err)
		_, err = w.Tokens.RevokeByPrincipal(t.Context(), "user:ana", "before")
		must(t, err)
		_, err = w.Devices.Comply(t.Context(), "DV-1", true, "")
		must(t, err)
		w.events = nil
		b, f := w.signsIn("s1")
		did, err := w.Heed(t.Context(), x.by, x.event)
		if err != nil || !strings.HasPrefix(did, x.did) {
			t.Errorf("%s: %q, %v, want %q", name, did, err, x.did)
		}
		if live := w.live(b, f); live[0] == x.ended || live[1] == x.ended {
			t.Errorf("%s: the session and the login live: %v", name, live)
		}
		if len(w.events) == 0 || w.events[0].Type != sallyport.EventSignalReceived || w.events[0].Detail["partner"] != "idp" || strings.Contains(w.events[0].Detail["why"], "\n") {
			t.Errorf("%s: recorded %+v", name, w.events)
		}
		if ends := strings.Fields(w.events[0].Detail["ends"]); x.ended != (len(ends) == 2 && strings.HasPrefix(ends[0], "S-") && ends[1] == f) {
			t.Errorf("%s: recorded that %v end", name, ends)
		}
		if m, err := w.Directory.Get(t.Context(), "user:ana"); err != nil || m.State != directory.Active {
			t.Errorf("%s: a partner locked somebody out: %s, %v", name, m.State, err)
		}
	}
}

// A partner neither marks a device of people for whom it does not speak, nor takes back what another said of one.
func TestNoPartnerTakesBackWhatAnotherSaid(t *testing.T) {
	w := newWorld(t)
	laptop := secevent.Subject{Format: "opaque", Fields: map[string]string{"id": "DV-1"}}
	against := func() string {
		d, err := w.Devices.Get(t.Context(), "DV-1", "")
		must(t, err)
		return d.Against
	}
	_, err := w.Heed(t.Context(), partner, says(secevent.DeviceComplianceChange, laptop, "current_status", "not-compliant"))
	must(t, err)
	if against() == "" {
		t.Fatal("the device complies")
	}
	before := against()
	stranger := heed.Partner{Name: "other", Issuer: "https://other.example"}
	for _, status := range []string{"compliant", "not-compliant", ""} {
		_, err = w.Heed(t.Context(), stranger, says(secevent.DeviceComplianceChange, laptop, "current_status", status))
		must(t, err)
		if against() != before {
			t.Errorf("a stranger's %q makes it %q", status, against())
		}
	}
}

// The session that is meant ends alone, with what is below it, where it is one of the partner's.
func TestOneSession(t *testing.T) {
	w := newWorld(t)
	one, f1 := w.signsIn("s1")
	two, f2 := w.signsIn("s2")
	meant := secevent.Subject{Format: "complex", Parts: map[string]secevent.Subject{"user": ana, "session": {Format: "opaque", Fields: map[string]string{"id": "s1"}}}}
	did, err := w.Heed(t.Context(), partner, says(secevent.SessionRevoked, meant))
	must(t, err)
	if a, b := w.live(one, f1), w.live(two, f2); a[0] || !b[0] {
		t.Errorf("%s; the one lives: %v, the other: %v", did, a, b)
	}
	// The same again, late, finds no such session: all of hers end, which costs a sign-in.
	_, err = w.Heed(t.Context(), partner, says(secevent.SessionRevoked, meant))
	must(t, err)
	if b := w.live(two, f2); b[0] || b[1] {
		t.Errorf("the other lives: %v", b)
	}
	for i, n := range []int{1, 3} { // her own logins are not below the one session
		if ends := strings.Fields(w.events[i].Detail["ends"]); len(ends) != n {
			t.Errorf("recorded that %v end, want %d", ends, n)
		}
	}
}

// The power fails at every step in turn: nothing happens without a record, whoever brought the event is told that it
// failed, and the same event again does the rest.
func TestThePowerFailsAtEachStep(t *testing.T) {
	w := newWorld(t)
	for name, e := range map[string]secevent.Token{"sign out": says(secevent.SessionRevoked, ana), "raise": says(secevent.RiskLevelChange, ana, "current_level", "HIGH"),
		"mark": says(secevent.DeviceComplianceChange, secevent.Subject{Format: "opaque", Fields: map[string]string{"id": "DV-1"}}, "current_status", "not-compliant")} {
		for n := 0; ; n++ {
			b, f := w.signsIn("s1")
			w.events, w.raised = nil, nil
			must(t, w.power.After(t.Context(), n))
			did, err := w.Heed(t.Context(), partner, e)
			live := w.live(b, f)
			if len(w.events) == 0 && (!live[0] || !live[1] || len(w.raised) > 0) {
				t.Errorf("%s, %d steps: without a record the session and the login live: %v; raised: %v", name, n, live, w.raised)
			}
			must(t, w.power.Mend(t.Context()))
			if err == nil {
				if n == 0 || name == "sign out" && (live[0] || live[1]) {
					t.Errorf("%s, %d steps: %s, and the session and the login live: %v", name, n, did, live)
				}
				break
			}
			_, err = w.Heed(t.Context(), partner, e)
			must(t, err)
			if live := w.live(b, f); name == "sign out" && (live[0] || live[1]) {
				t.Errorf("%s, %d steps and again: the session and the login live: %v", name, n, live)
			}
			if name == "mark" {
				d, err := w.Devices.Get(t.Context(), "DV-1", "")
				must(t, err)
				if d.Against == "" {
					t.Errorf("%d steps and again: the device complies", n)
				}
				_, err = w.Devices.Comply(t.Context(), "DV-1", true, "")
				must(t, err)
			}
		}
	}
	must(t, w.db.Close())
	w.events = nil
	for _, e := range []secevent.Token{says(secevent.SessionRevoked, ana), says(secevent.SessionRevoked, email("ana@acme.example"))} {
		if _, err := w.Heed(t.Context(), partner, e); sallyport.KindOf(err) != sallyport.Unavailable || err == nil || len(w.events) > 0 {
			t.Errorf("without a store: %v, recorded %v", err, w.events)
		}
	}
}
