package device_test

import (
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/jose"
)

// DV-1: a report counts only where the enrolled key signed it, for this server, now, and once, on whichever node.
func TestDV1StatementsAreSigned(t *testing.T) {
	w := newWorld(t)
	l, x := w.enrol(t, "user:ana")
	other, y := w.enrol(t, "user:ana")
	id, der := x.Device.ID, x.Chain[0]
	text := func(change func(map[string]any)) string {
		t.Helper()
		s, err := w.statement(l.key, id, *good(), change)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	set := func(name string, v any) string { return text(func(c map[string]any) { c[name] = v }) }
	foreign, err := w.statement(other.key, id, *good(), nil)
	if err != nil {
		t.Fatal(err)
	}
	typ, err := jose.Signer{Key: l.key, Algorithm: jose.ES256, Rand: zeroes{}}.Sign("jwt", map[string]any{"iss": id, "aud": server})
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"nothing": "", "an unsigned report": `{"family":"linux","version":"6.1","encrypted":true,"locked":true}`,
		"another key": foreign, "another type": typ.Reveal(), "another device": set("iss", y.Device.ID), "another server": set("aud", "https://other.example"),
		"two servers": set("aud", []string{server, "https://other.example"}), "no id": set("jti", nil), "over": set("exp", w.now.Add(-2*time.Minute).Unix()),
		"for a day": set("exp", w.now.Add(24*time.Hour).Unix()), "of tomorrow": set("iat", w.now.Add(24*time.Hour).Unix()),
		"made tomorrow": set("at", w.now.Add(24*time.Hour).UnixMicro()), "made yesterday": set("at", w.now.Add(-24*time.Hour).UnixMicro()), "without a time": set("at", nil),
	} {
		if d, err := w.Service.Report(t.Context(), der, bad); err == nil {
			t.Errorf("%s is taken in: %+v", name, d.Posture)
		}
	}
	if d, err := w.Get(t.Context(), id, ""); err != nil || !d.Posture.Stated.IsZero() {
		t.Fatalf("one of them left %+v, %v", d.Posture, err)
	}
	first, second := text(nil), text(nil)
	w.now = w.now.Add(time.Second)
	if d, err := w.Service.Report(t.Context(), der, second); err != nil || d.Posture.Stated.IsZero() {
		t.Fatalf("%+v, %v", d.Posture, err)
	}
	node := *w.Service // another node on the same store
	for name, again := range map[string]string{"the same": second, "an older one": first} {
		for _, s := range []*device.Service{w.Service, &node} {
			if _, err := s.Report(t.Context(), der, again); sallyport.ReasonOf(err) != device.ReasonReplayed || sallyport.KindOf(err) != sallyport.Unknown {
				t.Errorf("%s again: %v", name, err)
			}
		}
	}
	if _, err := w.Service.Report(t.Context(), y.Chain[0], text(nil)); err == nil {
		t.Error("one device speaks for another")
	}
	if _, err := w.Service.Report(t.Context(), der, text(nil)); err != nil {
		t.Errorf("a new one: %v", err)
	}
}

// zeroes is randomness enough for a signature that is refused.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }
