package facts_test

import (
	"slices"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/hold"
	"sallyport/internal/identity/device"
)

// TestQuestion: what is known of a call besides what it is about.
func TestQuestion(t *testing.T) {
	r := newRooms()
	s := open(t, r).Snapshot()
	at := r.clock.Now().UTC().Truncate(time.Microsecond)
	p := sallyport.Principal{ID: "user:ana", Scope: sallyport.Scope{"model.*"}, Assurance: sallyport.PhishingResistant, AuthTime: at.Add(-time.Minute), Session: "S-1", Family: "F-1",
		Client: "cli", Actors: []sallyport.PrincipalID{"agent:helper"}, Key: "jkt:x", Device: "DV-1", Purpose: "training"}
	q := s.Question(p, at, "192.0.2.200")
	if !q.At.Equal(at) || q.IP != "192.0.2.200" || q.Scope.String() != "model.*" || q.Assurance != sallyport.PhishingResistant || q.Session != "S-1" || q.Family != "F-1" ||
		q.Client != "cli" || !slices.Equal(q.Actors, p.Actors) || !q.Bound || q.Purpose != "training" || q.Network != "lab" || q.Risk != 70 {
		t.Errorf("%+v", q)
	}
	if !q.Trained.Equal(at.Add(-time.Hour).Truncate(time.Second)) || q.Trained.Nanosecond() != 0 {
		t.Errorf("trained %v", q.Trained)
	}
	if d := q.Device; d.ID != "DV-1" || d.Class != "standard" || d.Level != 3 || d.OS != "linux 6.1" || !d.Encrypted || d.Locked || !d.Patched ||
		d.Posture < 90*time.Second || d.Posture%time.Second != 0 {
		t.Errorf("device %+v", d)
	}
	again, err := decision.QuestionOf(sallyport.Event{Type: sallyport.EventDecided, At: at.UnixMicro(), Asked: q.Recorded()})
	if err != nil || again.Staleness != q.Staleness || !again.AuthTime.Equal(q.AuthTime) || again.Device != q.Device {
		t.Errorf("a record of %+v says %+v, %v", q, again, err)
	}
	for id, want := range map[string]decision.Device{
		"":        {},
		"DV-none": {}, "DV-removed": {},
		"DV-new": {ID: "DV-new", Class: "admin", Level: 2, Posture: -1},
		"DV-bad": {ID: "DV-bad", Class: "standard", Level: 2, Posture: 0},
	} {
		p.Device = id
		got := s.Question(p, at, "").Device
		if got.Posture = min(got.Posture, 0); got != want {
			t.Errorf("device %q: %+v, want %+v", id, got, want)
		}
	}
	for session, want := range map[string]int{"": 0, "S-2": 0, "S-odd": 100} {
		p.Session = session
		if got := s.Question(p, at, "").Risk; got != want {
			t.Errorf("session %q: risk %d, want %d", session, got, want)
		}
	}
}

// TestFactsOfThoseWhoAct: a basis for each, on the same resource.
func TestFactsOfThoseWhoAct(t *testing.T) {
	r := newRooms()
	r.holds = []hold.Hold{{ID: "H-1", Target: "agent:helper"}, {ID: "H-2", Target: "device:DV-1"}}
	s := open(t, r).Snapshot()
	x, _ := s.Resolve(sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud"})
	f, err := s.Facts(sallyport.Principal{ID: "user:ana", Actors: []sallyport.PrincipalID{"agent:helper", "service:bot"}}, x, r.clock.Now(), "")
	if err != nil || f.Basis.PrincipalID != "user:ana" || len(f.Acting) != 2 {
		t.Fatalf("%+v, %v", f, err)
	}
	for i, want := range []sallyport.PrincipalID{"agent:helper", "service:bot"} {
		if b := f.Acting[i]; b.PrincipalID != want || b.Resource != f.Resource || b.Hash() == "" || b.Hash() == f.Basis.Hash() {
			t.Errorf("the basis of %s is %+v", want, b)
		}
	}
	if f.Acting[0].Principal.Type != "Agent" || len(f.Acting[0].Holds) != 2 || len(f.Basis.Holds) != 1 {
		t.Errorf("holds %v and %v", f.Acting[0].Holds, f.Basis.Holds)
	}
	if f, err := s.Facts(sallyport.Principal{ID: "user:ana"}, x, r.clock.Now(), ""); err != nil || f.Acting != nil {
		t.Errorf("acting for themselves: %v, %v", f.Acting, err)
	}
}

// TestTrainingIsOfThePersonBehind: the programs of somebody are as well trained as they are, and one who never was has no
// training; what is recorded anew is in the next snapshot.
func TestTrainingIsOfThePersonBehind(t *testing.T) {
	r := newRooms()
	k := open(t, r)
	at := r.clock.Now()
	trained := func(id sallyport.PrincipalID) bool {
		return !k.Snapshot().Question(sallyport.Principal{ID: id}, at, "").Trained.IsZero()
	}
	if !trained("user:ana") || trained("user:rob") || trained("user:nobody") {
		t.Error("not whoever was trained is")
	}
	for _, m := range k.Snapshot().Sorted() {
		if trained(m.ID) != (m.Person == "user:ana") {
			t.Errorf("%s, behind whom is %s: trained %v", m.ID, m.Person, trained(m.ID))
		}
	}
	r.change(facts.KindTraining, func() { r.trained = map[sallyport.PrincipalID]time.Time{"user:rob": at} })
	if err := k.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if trained("user:ana") || !trained("user:rob") {
		t.Error("the change is not in the snapshot")
	}
}

// TestADeviceThatChanges is in the next snapshot, read alone.
func TestADeviceThatChanges(t *testing.T) {
	r := newRooms()
	k := open(t, r)
	reads := r.reads[facts.KindDirectory]
	r.change(facts.KindDevice, func() { r.devices = []device.Device{{ID: "DV-1", Class: device.Admin, State: device.Active}} })
	if err := k.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d, ok := k.Snapshot().Devices().ByID("DV-1"); !ok || d.Class != device.Admin {
		t.Errorf("%+v, %v", d, ok)
	}
	r.change(facts.KindSession, func() { r.risks = map[string]int{"S-1": 5} })
	if err := k.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if q := k.Snapshot().Question(sallyport.Principal{Session: "S-1"}, r.clock.Now(), ""); q.Risk != 5 {
		t.Errorf("risk %d", q.Risk)
	}
	if r.reads[facts.KindDirectory] != reads {
		t.Error("the directory was read although it did not change")
	}
}

func TestNetworks(t *testing.T) {
	n, err := facts.ParseNetworks(map[string]string{"192.0.2.0/24": "office", "192.0.2.128/25": "lab", "2001:db8::/32": "office", "0.0.0.0/0": "world", "198.51.100.7/32": "vpn"})
	if err != nil {
		t.Fatal(err)
	}
	for ip, want := range map[string]string{"192.0.2.1": "office", "192.0.2.129": "lab", "::ffff:192.0.2.129": "lab", "198.51.100.7": "vpn", "203.0.113.1": "world",
		"2001:db8::1": "office", "2001:db9::1": "", "": "", "host": "", "fe80::1%eth0": ""} {
		if got := n.Label(ip); got != want {
			t.Errorf("%q is in %q, want %q", ip, got, want)
		}
	}
	for cidr, label := range map[string]string{"192.0.2.1/24": "x", "192.0.2.0": "x", "192.0.2.0/33": "x", "::ffff:192.0.2.0/120": "x", "192.0.2.0/24": "Office", "": "x"} {
		if _, err := facts.ParseNetworks(map[string]string{cidr: label}); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%q %q: %v", cidr, label, err)
		}
	}
	if got := facts.Networks(nil).Label("192.0.2.1"); got != "" {
		t.Errorf("without labels %q", got)
	}
}
