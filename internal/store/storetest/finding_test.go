package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/identity/place"
	"sallyport/internal/identity/risk"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/watch/detect"
)

// A scout is a detector on a store, and the trail that it is told of.
type scout struct {
	*detect.Detector
	seq   uint64
	at    time.Time
	noted []sallyport.Event
}

func newScout(db *sqldb.DB, at time.Time) *scout {
	s := &scout{at: at, seq: uint64(at.Unix())}
	s.Detector = &detect.Detector{Store: db.Finding(), Clock: func() time.Time { return s.at },
		Network: func(ip string) string {
			if ip == "198.18.0.1" { // the house's own way out
				return ""
			}
			a, err := netip.ParseAddr(ip)
			if err != nil {
				return ip
			}
			return place.Prefix(a)
		},
		Note: func(_ context.Context, e sallyport.Event) error { s.noted = append(s.noted, e); return nil }}
	return s
}

// hear tells the detector of events, a second apart, and returns what it has found since.
func (s *scout) hear(t *testing.T, events ...sallyport.Event) []detect.Finding {
	t.Helper()
	s.noted = nil
	for _, e := range events {
		s.seq++
		s.at = s.at.Add(time.Second)
		e.At = s.at.UnixMicro()
		must(t, s.Handle(t.Context(), []sallyport.Logged{{Seq: s.seq, Event: e}}, s.seq+1))
	}
	all, err := s.Store.Findings(t.Context(), detect.Filter{Oldest: true})
	must(t, err)
	if n := len(s.noted); n > 0 {
		return all[len(all)-n:]
	}
	return nil
}

func decided(who sallyport.PrincipalID, outcome, ip, session, device string) sallyport.Event {
	e := sallyport.Event{Type: sallyport.EventDecided, Who: who, On: "acme/fraud@v1", Outcome: outcome, Asked: &sallyport.Asked{Door: "hf", IP: ip, Session: session}}
	if device != "" {
		e.Asked.Device = &sallyport.AskedDevice{ID: device}
	}
	return e
}

func times(n int, e sallyport.Event) []sallyport.Event { return slices.Repeat([]sallyport.Event{e}, n) }

func failed(who sallyport.PrincipalID, reason, ip string) sallyport.Event {
	return sallyport.Event{Type: sallyport.EventSignInFailed, Who: who, Reasons: []string{reason}, Asked: &sallyport.Asked{Door: "login", IP: ip}}
}

// TestMO3Tripwires: each rule has an attack that it finds, whom it names, and a benign twin that it does not find.
func TestMO3Tripwires(t *testing.T) {
	const home, cafe = "192.0.2.7", "203.0.113.9"
	at := func(ip, session string) sallyport.Event { return decided("user:ana", "allow", ip, session, "") }
	device := func(id, ip string) sallyport.Event { return decided("user:ana", "allow", ip, "S-"+id, id) }
	again := func(who sallyport.PrincipalID, last, from string) []sallyport.Event {
		e := sallyport.Event{Type: sallyport.EventProofReplayed, Who: who, Detail: map[string]string{"from.ip": from, "last.ip": last}, Asked: &sallyport.Asked{IP: from}}
		if who != "" {
			e.On = "family:F-3"
		}
		return []sallyport.Event{e}
	}
	spray := func(n int) (all []sallyport.Event) {
		for i := range n {
			all = append(all, failed(sallyport.PrincipalID(fmt.Sprintf("user:p%d", i)), "password.wrong", "203.0.113.0/24"))
		}
		return all
	}
	tests := []struct {
		rule    string
		subject string
		who     sallyport.PrincipalID
		attack  []sallyport.Event
		benign  []sallyport.Event
	}{
		{detect.TokenReused, "family:F-1", "user:ana",
			[]sallyport.Event{{Type: sallyport.EventTokenReused, Who: "user:ana", Asked: &sallyport.Asked{Family: "F-1"}}},
			[]sallyport.Event{{Type: sallyport.EventTokenIssued, Who: "user:ana", Asked: &sallyport.Asked{Family: "F-1"}}}},
		{detect.TokenTheft, "family:F-2", "user:ana",
			[]sallyport.Event{{Type: sallyport.EventTokenTheft, Who: "user:ana", On: "family:F-2"}},
			[]sallyport.Event{{Type: sallyport.EventRefused, Who: "user:ana", Reasons: []string{"token.expired"}}}},
		{detect.ProofReplayed, "family:F-3", "user:ana", again("user:ana", home, cafe),
			[]sallyport.Event{{Type: sallyport.EventRefused, Who: "user:ana", Reasons: []string{"use_dpop_nonce"}}}},
		{detect.ProofRepeated, "family:F-3", "user:ana", again("user:ana", home, "192.0.2.9"), times(19, again("", "", cafe)[0])},
		{detect.ProofRepeated, "family:F-3", "user:ana", again("user:ana", "2001:db8::1", cafe), nil},
		{detect.ProofRepeated, "network:203.0.113.0/24", "", times(20, again("", "", cafe)[0]), nil},
		{detect.ImpossibleTravel, "user:ana", "user:ana",
			[]sallyport.Event{{Type: sallyport.EventRiskChanged, Who: "user:ana", Reasons: []string{"new-country", string(risk.Travel)}}},
			[]sallyport.Event{{Type: sallyport.EventRiskChanged, Who: "user:ana", Reasons: []string{"new-country"}}}},
		{detect.SharedCredential, "session:S-1", "user:ana",
			[]sallyport.Event{at(home, "S-1"), at(cafe, "S-1"), at(home, "S-1"), at(cafe, "S-1")},
			[]sallyport.Event{at(home, "S-2"), at(home, "S-2"), at(cafe, "S-2"), at(cafe, "S-2"), at(cafe, "S-2")}},
		{detect.SharedCredential, "device:DV-1", "user:ana",
			[]sallyport.Event{device("DV-1", home), device("DV-1", cafe), device("DV-1", home), device("DV-1", cafe)},
			[]sallyport.Event{device("DV-2", home), device("DV-2", "2001:db8::1"), device("DV-2", home), device("DV-2", "2001:db8::1")}},
		{detect.TwoDevices, "user:ana", "user:ana",
			[]sallyport.Event{device("DV-3", home), device("DV-4", home), device("DV-3", home), device("DV-4", home)},
			append(times(20, device("DV-3", home)), times(20, device("DV-4", home))...)},
		{detect.DisabledAccount, "user:lea", "user:lea",
			[]sallyport.Event{failed("user:lea", "member.inactive", "192.0.2.0/24")},
			[]sallyport.Event{failed("user:lea", "password.wrong", "192.0.2.0/24")}},
		{detect.ClonedPasskey, "user:ana", "user:ana",
			[]sallyport.Event{{Type: sallyport.EventCloned, Who: "user:ana"}},
			[]sallyport.Event{{Type: sallyport.EventFactorChanged, Who: "user:ana"}}},
		{detect.UIBypass, "session:S-7", "user:bo",
			[]sallyport.Event{{Type: sallyport.EventBypassed, Who: "user:bo", On: "session:S-7", Reasons: []string{"ui.bypass"}, Detail: map[string]string{"path": "/approvals/R-1/vote"}}},
			[]sallyport.Event{decided("user:bo", "deny", home, "S-7", "")}},
		{detect.DenialBurst, "user:bo", "user:bo", times(20, decided("user:bo", "deny", home, "S-9", "")), append(times(19, decided("user:bo", "deny", home, "S-9", "")), times(50, decided("user:bo", "allow", home, "S-9", ""))...)},
		{detect.Probing, "network:203.0.113.0/24", "",
			times(20, sallyport.Event{Type: sallyport.EventUnmapped, Asked: &sallyport.Asked{IP: cafe}}),
			times(19, sallyport.Event{Type: sallyport.EventUnmapped, Asked: &sallyport.Asked{IP: cafe}})},
		{detect.PasswordSpray, "network:203.0.113.0/24", "", spray(5), append(spray(4), spray(4)...)},
		{detect.Reported, "user:ana", "user:ana",
			[]sallyport.Event{{Type: sallyport.EventReported, Who: "user:ana", On: "user:ana", Detail: map[string]string{"what": "phish"}}},
			[]sallyport.Event{{Type: sallyport.EventAlarm, Who: "user:ana", On: "user:ana"}}},
	}
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, began := open(), newTurnedClock().Now()
		for i, test := range tests {
			t.Run(test.rule+" "+test.subject, func(t *testing.T) {
				s := newScout(db, began.AddDate(0, 0, i))
				if found := s.hear(t, test.benign...); len(found) != 0 {
					t.Errorf("the benign twin is found: %+v", found[0])
				}
				s.at = s.at.Add(time.Hour)
				found := s.hear(t, test.attack...)
				if len(found) != 1 {
					t.Fatalf("%d findings", len(found))
				}
				f := found[0]
				if f.Rule != test.rule || f.Subject != test.subject || f.Who != test.who || f.State != detect.New || f.Text == "" || len(f.Evidence) == 0 || f.Evidence[len(f.Evidence)-1] != s.seq {
					t.Errorf("found %+v", f)
				}
				if last := test.attack[len(test.attack)-1]; last.Type == sallyport.EventDecided && last.On != f.Detail["on"] {
					t.Errorf("it is about %q, and says %q", last.On, f.Detail["on"])
				}
				if e := s.noted[0]; e.Type != sallyport.EventFinding || e.Who != test.who || e.On != test.subject || e.Detail["finding"] != f.ID || e.Detail["evidence"] != strings.Trim(fmt.Sprint(f.Evidence), "[]") {
					t.Errorf("recorded %+v", e)
				}
			})
		}
	})
}

// A burst that goes over several assets is about each of them, not about the last alone, which may be a decoy.
func TestABurstIsAboutEachAsset(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newScout(open(), newTurnedClock().Now())
		decoy := decided("user:bo", "deny", "192.0.2.7", "S-9", "")
		decoy.On = "acme/decoy@v1"
		found := s.hear(t, append(times(19, decided("user:bo", "deny", "192.0.2.7", "S-9", "")), decoy)...)
		if len(found) != 1 || found[0].Detail["on"] != "acme/fraud@v1 acme/decoy@v1" {
			t.Errorf("found %+v", found)
		}
	})
}

// What a shared way out, a slow change of network and the same network under two addresses look like is no finding.
func TestSharedCredentialsBenign(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newScout(open(), newTurnedClock().Now())
		from := func(ip string) sallyport.Event { return decided("user:ana", "allow", ip, "S-1", "") }
		for i := range 10 { // to and fro, once a quarter of an hour
			s.at = s.at.Add(15 * time.Minute)
			if found := s.hear(t, from([]string{"192.0.2.7", "203.0.113.9"}[i%2])); len(found) != 0 {
				t.Fatalf("somebody who moves about is found: %+v", found)
			}
		}
		s.at = s.at.Add(time.Hour)
		for _, pair := range [][2]string{{"192.0.2.7", "192.0.2.99"}, {"198.18.0.1", "203.0.113.9"}, {"not an address", ""}} {
			for i := range 10 {
				if found := s.hear(t, from(pair[i%2])); len(found) != 0 {
					t.Errorf("%v is found: %+v", pair, found)
				}
			}
		}
	})
}

// ID-9: one credential of a service, on hosts in two networks, is found; many hosts of one service that have each their own are not, nor
// is a service that moves, for however many of it run meanwhile, nor one that reaches two doors by two ways.
func TestASharedCredentialOfAService(t *testing.T) {
	const home, cafe, six = "192.0.2.7", "203.0.113.9", "2001:db8::1"
	token := func(family, credential, ip string) sallyport.Event {
		return sallyport.Event{Type: sallyport.EventTokenIssued, Who: "service:trainer", Asked: &sallyport.Asked{Door: "oidc", IP: ip, Family: family}, Detail: map[string]string{"credential": credential}}
	}
	call := func(door, family, ip string) sallyport.Event {
		return sallyport.Event{Type: sallyport.EventDecided, Who: "service:trainer", On: "acme/fraud@v1", Outcome: "allow", Asked: &sallyport.Asked{Door: door, IP: ip, Family: family}}
	}
	for _, x := range []struct {
		name    string
		every   time.Duration
		rounds  int
		events  func(round int) []sallyport.Event
		subject string // "" where nothing may be found
	}{
		{"one key of a client", 2 * time.Minute, 12, func(n int) []sallyport.Event {
			return []sallyport.Event{token(fmt.Sprint("F-h", n), "jwk:one", home), token(fmt.Sprint("F-c", n), "jwk:one", cafe)}
		}, "credential:jwk:one"},
		{"one key, each host with its token", 2 * time.Minute, 12, func(n int) []sallyport.Event {
			return []sallyport.Event{token("F-h", "jwk:one", "198.18.0.1"), token("F-c", "jwk:one", "198.18.0.1"), call("hf", "F-h", home), call("hf", "F-c", cafe)}
		}, "credential:jwk:one"},
		{"one proof of a workload, seldom", 5 * time.Minute, 6, func(n int) []sallyport.Event {
			return []sallyport.Event{token(fmt.Sprint("F-", n), "proof:x", []string{home, cafe}[n%2])}
		}, "credential:proof:x"},
		{"many at once", 2 * time.Second, 600, func(n int) []sallyport.Event {
			return []sallyport.Event{token("F-h", "jwk:one", home), token("F-c", "jwk:one", cafe)}
		}, "credential:jwk:one"},
		{"hosts that have each their own key", 2 * time.Minute, 60, func(n int) []sallyport.Event {
			return []sallyport.Event{token("F-h", "jwk:h", home), token("F-c", "jwk:c", cafe), call("hf", "F-h", home), call("hf", "F-c", cafe)}
		}, ""},
		{"another address of the same network", time.Minute, 60, func(n int) []sallyport.Event {
			return []sallyport.Event{token("F-h", "jwk:one", []string{home, "192.0.2.99"}[n%2])}
		}, ""},
		{"two kinds of addresses", time.Minute, 60, func(n int) []sallyport.Event {
			return []sallyport.Event{token("F-h", "jwk:one", []string{home, six}[n%2])}
		}, ""},
		{"a way out that has changed", time.Minute, 60, func(n int) []sallyport.Event {
			return []sallyport.Event{token("F-h", "jwk:one", []string{home, cafe}[min(n/20, 1)])}
		}, ""},
		{"a deployment that rolls on, and later back", time.Minute, 90, func(n int) []sallyport.Event {
			switch {
			case n >= 20 && n < 32 || n >= 60 && n < 72:
				return []sallyport.Event{token("F-h", "jwk:one", home), token("F-c", "jwk:one", cafe)}
			case n >= 32 && n < 60:
				return []sallyport.Event{token("F-c", "jwk:one", cafe)}
			}
			return []sallyport.Event{token("F-h", "jwk:one", home)}
		}, ""},
		{"two doors by two ways", time.Minute, 60, func(n int) []sallyport.Event {
			return []sallyport.Event{token("F-h", "jwk:one", cafe), call("hf", "F-h", home)}
		}, ""},
		{"a token that nobody knows the credential of", 20 * time.Minute, 4, func(n int) []sallyport.Event {
			return []sallyport.Event{call("hf", "F-h", home), call("hf", "F-c", cafe)}
		}, ""},
	} {
		Run(t, func(t *testing.T, open func() *sqldb.DB) {
			s := newScout(open(), newTurnedClock().Now())
			var found []detect.Finding
			for n := range x.rounds {
				found = append(found, s.hear(t, x.events(n)...)...)
				s.at = s.at.Add(x.every)
			}
			if x.subject == "" {
				if len(found) != 0 {
					t.Errorf("%s is found: %+v", x.name, found[0])
				}
				return
			}
			if len(found) != 1 {
				t.Fatalf("%s: %d findings", x.name, len(found))
			}
			f := found[0]
			if f.Rule != detect.SharedCredential || f.Subject != x.subject || f.Who != "service:trainer" || f.Detail["networks"] != "192.0.2.0/24 203.0.113.0/24" || len(f.Evidence) < 4 {
				t.Errorf("%s: found %+v", x.name, f)
			}
		})
	}
}

// The trail read again finds the same and tells nobody twice; the cursor never goes back; another node knows it too.
func TestFindingsAreFoundOnce(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		began := newTurnedClock().Now()
		var trail []sallyport.Logged
		for i := range 60 {
			e := decided("user:bo", "deny", "192.0.2.7", "S-9", "")
			e.At = began.Add(time.Duration(i) * time.Second).UnixMicro()
			trail = append(trail, sallyport.Logged{Seq: uint64(i), Event: e})
		}
		one := newScout(open(), began)
		must(t, one.Handle(t.Context(), trail[:30], 30))
		first := slices.Clone(one.noted)
		if len(first) != 1 {
			t.Fatalf("%d findings", len(first))
		}
		two := newScout(open(), began) // a restart
		from, err := two.Next(t.Context())
		if err != nil || from != 0 {
			t.Errorf("reading goes on at %d, %v: what rules remember is not kept", from, err)
		}
		must(t, two.Handle(t.Context(), trail[:20], 20))
		if next, err := two.Store.Next(t.Context()); err != nil || next != 30 {
			t.Errorf("the cursor is %d, %v", next, err)
		}
		must(t, two.Handle(t.Context(), trail[20:], 60))
		if len(two.noted) != 0 {
			t.Errorf("told again: %+v", two.noted)
		}
		if all, err := two.Store.Findings(t.Context(), detect.Filter{}); err != nil || len(all) != 1 {
			t.Errorf("%d findings, %v", len(all), err)
		}
	})
}

func TestFindingStore(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		at := newTurnedClock().Now()
		d := newScout(open(), at)
		f := detect.Finding{ID: "F-1", Rule: "x", Severity: detect.High, Who: "user:ana", Subject: "session:S-1", At: at, Text: "t", Evidence: []uint64{1, 2}, Detail: map[string]string{"a": "b"}, State: detect.New}
		must(t, d.Store.Put(t.Context(), []detect.Finding{f, {ID: "F-2", Rule: "y", At: at.Add(time.Hour), State: detect.New}}, 9))
		got, err := d.Store.Finding(t.Context(), "F-1")
		if diff := cmp.Diff(f, got); diff != "" || err != nil {
			t.Errorf("Finding (-want +got): %v\n%s", err, diff)
		}
		if missing, err := d.Store.Missing(t.Context(), []string{"F-1", "F-3"}); err != nil || !slices.Equal(missing, []string{"F-3"}) {
			t.Errorf("missing %v, %v", missing, err)
		}
		for want, f := range map[string]detect.Filter{"F-2 F-1": {}, "F-1 F-2": {Oldest: true}, "F-1": {Who: "user:ana"}, "F-2": {Rule: "y"}, "": {State: detect.Closed}} {
			all, err := d.Store.Findings(t.Context(), f)
			var ids []string
			for _, x := range all {
				ids = append(ids, x.ID)
			}
			if err != nil || strings.Join(ids, " ") != want {
				t.Errorf("%+v: %v, %v, want %s", f, ids, err, want)
			}
		}
		for name, v := range map[string]detect.Verdict{"neither": {Word: "maybe", Why: "x", By: "user:eve", Person: "user:eve"}, "no reason": {Word: "benign", Why: " ", By: "user:eve", Person: "user:eve"}} {
			_, err := d.Close(t.Context(), "F-1", v)
			wantKind(t, name, err, sallyport.Invalid)
		}
		_, err = d.Close(t.Context(), "F-1", detect.Verdict{Word: "benign", Why: "it was me", By: "user:ana.2", Person: "user:ana"})
		wantKind(t, "closing what is about oneself", err, sallyport.Conflict)
		closed, err := d.Close(t.Context(), "F-1", detect.Verdict{Word: "benign", Why: "two exits of one VPN", By: "user:eve", Person: "user:eve"})
		if err != nil || closed.State != detect.Closed || closed.Verdict != "benign" || closed.Closer != "user:eve" {
			t.Errorf("closed %+v, %v", closed, err)
		}
		_, err = d.Close(t.Context(), "F-1", detect.Verdict{Word: "benign", Why: "again", By: "user:eve", Person: "user:eve"})
		wantKind(t, "closing twice", err, sallyport.Conflict)
		_, err = d.Close(t.Context(), "F-9", detect.Verdict{Word: "benign", Why: "x", By: "user:eve", Person: "user:eve"})
		wantKind(t, "closing nothing", err, sallyport.NotFound)
	})
}

// What stops a detector (the log that cannot be written, the store that is down) loses nothing: the cursor stays, and the same
// is found again under the same name, once.
func TestFindingsAfterAFailure(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newScout(open(), newTurnedClock().Now())
		e := sallyport.Logged{Seq: 6, Event: sallyport.Event{Type: sallyport.EventTokenReused, At: s.at.UnixMicro(), Who: "user:ana", On: "family:F-1"}}
		note, store := s.Note, s.Store
		handle := func(want bool) {
			t.Helper()
			if err := s.Handle(t.Context(), []sallyport.Logged{e}, 7); (err == nil) != want {
				t.Fatalf("error %v", err)
			}
			all, err := store.Findings(t.Context(), detect.Filter{})
			must(t, err)
			next, err := store.Next(t.Context())
			must(t, err)
			if (len(all) == 1) != want || (next == 7) != want {
				t.Fatalf("%d findings, the cursor at %d", len(all), next)
			}
		}
		s.Note = func(context.Context, sallyport.Event) error { return errors.New("the log is full") }
		handle(false)
		s.Note, s.Store = note, puts{store}
		handle(false) // written down, and not kept: a crash between the two looks the same
		s.Store = store
		handle(true)
		handle(true)
		if len(s.noted) != 2 || s.noted[0].Detail["finding"] != s.noted[1].Detail["finding"] {
			t.Errorf("recorded %+v", s.noted)
		}
	})
}

// puts fails to keep anything.
type puts struct{ detect.Store }

func (puts) Put(context.Context, []detect.Finding, uint64) error {
	return errors.New("the store is down")
}
