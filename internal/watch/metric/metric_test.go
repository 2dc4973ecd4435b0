package metric_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/identity/device"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/watch/metric"
)

const door = "https://sallyport.test/hf"

// bare permits next to nothing.
const bare = `@id("none") @owner("test") @requirement("T") permit (principal, action == Action::"server.read", resource);`

// A bench is a guard whose sweeps are measured by hand: nothing runs beside the test.
type bench struct {
	*guardtest.World
	*metric.Meter
	t     *testing.T
	seq   uint64
	noted []sallyport.Event
	full  error // of the log
}

func newBench(t *testing.T) *bench {
	b := &bench{World: guardtest.New(t), t: t}
	b.Meter = &metric.Meter{Clock: b.World.Clock.Now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Provider: func(id sallyport.PrincipalID) bool { return id == "service:okta" },
		Note: func(_ context.Context, e sallyport.Event) error {
			if b.full == nil {
				b.noted = append(b.noted, e)
			}
			return b.full
		}}
	b.Guard.Swept = b.Swept
	b.sweep() // what is there at the start was taken by nobody
	return b
}

func (b *bench) sweep() { b.Guard.Sweep(b.t.Context(), 0) }

func (b *bench) now() int64 { return b.World.Clock.Now().UnixMicro() }

// hears hands events to the meter as the trail does.
func (b *bench) hears(events ...sallyport.Event) error {
	b.t.Helper()
	var all []sallyport.Logged
	for _, e := range events {
		b.seq++
		all = append(all, sallyport.Logged{Seq: b.seq, Event: e})
	}
	return b.Handle(b.t.Context(), all, b.seq+1)
}

// running begins a call that runs until it is cut.
func (b *bench) running(name string) *guard.Permit {
	b.t.Helper()
	ref, err := sallyport.ParseRef("acme/open")
	if err != nil {
		b.t.Fatal(err)
	}
	a, err := b.Guard.Check(b.t.Context(), guard.Call{Door: "test", Action: sallyport.ModelInfer, Target: ref, IP: "192.0.2.7",
		Proof: guard.Proof{Bearer: secret.NewText(guardtest.Token(name, sallyport.MultiFactor, door, "*")), Audience: door}})
	if err != nil || a.Permit == nil {
		b.t.Fatal(a, err)
	}
	return a.Permit
}

func micros(t *testing.T, e sallyport.Event) int64 {
	t.Helper()
	n, err := strconv.ParseInt(e.Detail["micros"], 10, 64)
	if err != nil {
		t.Fatalf("%+v: %v", e, err)
	}
	return n
}

// Every kind of order, recorded before what it orders is done or after: it is in force with the first sweep on the facts that have it, and
// the record says so, with the calls that it ended.
func TestEachKindIsMeasured(t *testing.T) {
	lock := func(detail map[string]string) sallyport.Event {
		return sallyport.Event{Type: sallyport.EventHoldPlaced, Who: "user:rita", Detail: detail}
	}
	for _, x := range []struct {
		kind  metric.Kind
		event sallyport.Event
		do    func(*bench)
		cuts  bool
	}{
		{metric.Lock, lock(map[string]string{"hold": "H-1"}), func(b *bench) { b.Lock("user:ana") }, true},
		{metric.Leave, sallyport.Event{Type: sallyport.EventLeft, On: "user:ana", Detail: map[string]string{"extent": "departure"}}, func(b *bench) { b.Suspend("ana") }, true},
		{metric.Suspend, sallyport.Event{Type: sallyport.EventLeft, On: "user:ana", Detail: map[string]string{"extent": "pause"}}, func(b *bench) { b.Suspend("ana") }, true},
		{metric.SCIM, sallyport.Event{Type: sallyport.EventLeft, Who: "service:okta", On: "user:ana", Detail: map[string]string{}}, func(b *bench) { b.Suspend("ana") }, true},
		{metric.Session, sallyport.Event{Type: sallyport.EventSessionRevoked, On: "session:F-ana", Detail: map[string]string{}}, func(b *bench) { b.Revoke("F-ana") }, true},
		{metric.Session, sallyport.Event{Type: sallyport.EventSessionRevoked, Asked: &sallyport.Asked{Session: "S-ana"}, Detail: map[string]string{}}, func(b *bench) { b.Revoke("S-ana") }, true},
		{metric.Logout, sallyport.Event{Type: sallyport.EventSessionRevoked, Detail: map[string]string{"sessions": "S-ana S-x", "everywhere": "true"}},
			func(b *bench) { b.Revoke("S-x"); b.Revoke("S-ana") }, true},
		{metric.Signal, sallyport.Event{Type: sallyport.EventSignalReceived, Who: "user:ana", Detail: map[string]string{"ends": "S-ana"}}, func(b *bench) { b.Revoke("S-ana") }, true},
		{metric.Report, sallyport.Event{Type: sallyport.EventReported, On: "device:DV-1", Detail: map[string]string{"ends": "S-ana"}},
			func(b *bench) { b.Device(device.Device{ID: "DV-1", State: device.Removed}); b.Revoke("S-ana") }, true},
		{metric.Device, sallyport.Event{Type: sallyport.EventDeviceRemoved, On: "device:DV-1", Detail: map[string]string{}},
			func(b *bench) { b.Device(device.Device{ID: "DV-1", State: device.Removed}) }, false},
		{metric.Grant, sallyport.Event{Type: sallyport.EventGrantRevoked, Detail: map[string]string{"grant": "G-ana"}}, func(b *bench) { b.Give(nil, nil, nil) }, false},
		{metric.Task, sallyport.Event{Type: sallyport.EventGrantEnded, Detail: map[string]string{"grant": "G-ana"}}, func(b *bench) { b.Give(nil, nil, nil) }, false},
		{metric.Policy, sallyport.Event{Type: sallyport.EventPolicyActivated, Detail: map[string]string{}}, func(b *bench) { b.Rules(bare) }, true},
	} {
		for _, before := range []bool{true, false} {
			t.Run(string(x.kind)+" recorded before "+strconv.FormatBool(before), func(t *testing.T) {
				b, e := newBench(t), x.event
				b.Device(device.Device{ID: "DV-1", State: device.Active})
				b.Grant("ana", sallyport.ModelPull, "acme/open", b.World.Clock.Now().Add(time.Hour))
				b.sweep()
				p := b.running("ana")
				ordered := b.now()
				if x.kind == metric.Policy {
					engine, err := guardtest.Compile(bare)
					if err != nil {
						t.Fatal(err)
					}
					e.On = engine.Version()
				}
				if e.At = ordered; before {
					must(t, b.hears(e))
					if len(b.noted) != 0 {
						t.Fatalf("in force before it was done: %+v", b.noted)
					}
				}
				x.do(b)
				b.sweep()
				if !before {
					e.At = b.now()
					e.Detail[sallyport.Ordered] = strconv.FormatInt(ordered, 10)
					must(t, b.hears(e))
				} else {
					must(t, b.hears(sallyport.Event{Type: sallyport.EventDeviceRemoved, On: "device:none", Detail: map[string]string{}}), b.Look(t.Context()))
				}
				if len(b.noted) != 1 {
					t.Fatalf("%d records: %+v", len(b.noted), b.noted)
				}
				got := b.noted[0]
				took := micros(t, got)
				if got.Type != sallyport.EventInForce || got.Detail["kind"] != string(x.kind) || got.Detail["order"] == "" || got.Who != e.Who || got.On != e.On || took <= 0 || took > b.now()-ordered {
					t.Errorf("recorded %+v", got)
				}
				if p.Valid() == x.cuts || (got.Detail["calls"] == p.ID()) != x.cuts {
					t.Errorf("the call runs: %v, and the record says %+v", p.Valid(), got.Detail)
				}
			})
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// What took nothing is nobody's figure: what was taken before, and orders that end nothing. What is not seen in force is told, after a
// minute and once.
func TestWhatIsNoFigure(t *testing.T) {
	b := newBench(t)
	at := b.now()
	b.Suspend("ana")
	b.sweep()
	b.World.Clock.Add(time.Second)
	left := sallyport.Event{Type: sallyport.EventLeft, On: "user:ana", Detail: map[string]string{}}
	left.At = b.now()
	must(t, b.hears(left, sallyport.Event{Type: sallyport.EventReported, On: "user:ana", At: at, Detail: map[string]string{"what": "phish"}},
		sallyport.Event{Type: sallyport.EventSignalReceived, At: at, Detail: map[string]string{"action": "record"}}))
	if len(b.noted) != 0 {
		t.Fatalf("recorded %+v", b.noted)
	}
	gone := sallyport.Event{Type: sallyport.EventSessionRevoked, On: "session:S-none", Decision: "D-1", At: b.now(), Detail: map[string]string{}}
	must(t, b.hears(gone), b.Look(t.Context()))
	b.World.Clock.Add(2 * time.Minute)
	if len(b.noted) != 0 {
		t.Fatalf("recorded %+v", b.noted)
	}
	must(t, b.Look(t.Context()), b.Look(t.Context()))
	if len(b.noted) != 1 || b.noted[0].Detail["unseen"] == "" || b.noted[0].Detail["micros"] != "" || b.noted[0].Decision != "D-1" {
		t.Errorf("recorded %+v", b.noted)
	}
}

// A log that is full for a while costs no measure and counts none twice.
func TestALogThatFails(t *testing.T) {
	b := newBench(t)
	at := b.now()
	b.Revoke("S-ana")
	b.Revoke("S-rob")
	b.sweep()
	events := []sallyport.Logged{}
	for i, id := range []string{"S-ana", "S-rob"} {
		events = append(events, sallyport.Logged{Seq: uint64(i), Event: sallyport.Event{Type: sallyport.EventSessionRevoked, On: "session:" + id, At: at, Detail: map[string]string{}}})
	}
	must(t, b.Handle(t.Context(), events[:1], 1))
	b.full = errors.New("no space left on device")
	if err := b.Handle(t.Context(), events, 2); err == nil {
		t.Error("what could not be written down counts as written")
	}
	b.full = nil
	must(t, b.Handle(t.Context(), events, 2))
	if len(b.noted) != 2 || b.noted[0].On == b.noted[1].On {
		t.Errorf("recorded %+v", b.noted)
	}
}

// More sweeps than are looked at are taken together: nothing that they took is lost.
func TestManySweeps(t *testing.T) {
	b := newBench(t)
	at := b.now()
	var orders []sallyport.Event
	for i := range 200 {
		id := "S-" + strconv.Itoa(i)
		b.Revoke(id)
		b.sweep()
		orders = append(orders, sallyport.Event{Type: sallyport.EventSessionRevoked, On: "session:" + id, At: at, Detail: map[string]string{}})
	}
	must(t, b.hears(orders...))
	if len(b.noted) != len(orders) {
		t.Errorf("%d of %d", len(b.noted), len(orders))
	}
}

// The percentiles are exact: checked against every order's own time. Records of one request are one order.
func TestFigures(t *testing.T) {
	inForce := func(kind metric.Kind, took time.Duration, order int, decision string, more ...string) sallyport.Logged {
		e := sallyport.Event{Type: sallyport.EventInForce, Decision: decision, Detail: map[string]string{"kind": string(kind),
			"order": strconv.Itoa(order), "micros": strconv.FormatInt(took.Microseconds(), 10)}}
		for i := 0; i+1 < len(more); i += 2 {
			e.Detail[more[i]] = more[i+1]
		}
		return sallyport.Logged{Event: e}
	}
	var events []sallyport.Logged
	for i := range 200 {
		events = append(events, inForce(metric.Lock, time.Duration(i*37%200+1)*time.Millisecond, i, ""))
	}
	events = append(events, inForce(metric.Logout, time.Millisecond, 300, "D-1", "cut", "1", "calls", "D-9"), inForce(metric.Logout, 3*time.Millisecond, 301, "D-1", "cut", "1", "calls", "D-9"),
		inForce(metric.Logout, 2*time.Millisecond, 302, "D-2", "cut", "22", "calls", "D-7 D-8"),
		sallyport.Logged{Event: sallyport.Event{Type: sallyport.EventInForce, Detail: map[string]string{"kind": "leave", "order": "1", "unseen": "1m0s"}}},
		sallyport.Logged{Event: sallyport.Event{Type: sallyport.EventInForce, Detail: map[string]string{"kind": "other", "order": "1", "micros": "1"}}},
		sallyport.Logged{Event: sallyport.Event{Type: sallyport.EventInForce, Detail: map[string]string{"kind": "leave", "order": "x", "micros": "1"}}},
		sallyport.Logged{Event: sallyport.Event{Type: sallyport.EventCut, Detail: map[string]string{"kind": "leave", "order": "1", "micros": "1"}}})
	got := map[metric.Kind]metric.Figure{}
	for _, f := range metric.Of(events) {
		got[f.Kind] = f
	}
	if len(got) != len(metric.Kinds()) {
		t.Errorf("%d kinds", len(got))
	}
	if f := got[metric.Lock]; f.N != 200 || f.P50 != 100*time.Millisecond || f.P95 != 190*time.Millisecond || f.P99 != 198*time.Millisecond || f.Slowest != 200*time.Millisecond || f.Order != 27 {
		t.Errorf("lock: %+v", f)
	}
	if f := got[metric.Logout]; f.N != 2 || f.P50 != 2*time.Millisecond || f.P99 != 3*time.Millisecond || f.Decision != "D-1" || f.Order != 301 || f.Cut != 23 || !slices.Equal(f.Calls, []string{"D-7", "D-8", "D-9"}) {
		t.Errorf("logout: %+v", f)
	}
	if f := got[metric.Leave]; f.N != 0 || f.P99 != 0 || f.Unseen != 1 {
		t.Errorf("leave: %+v", f)
	}
}
