package obligation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/enforce/obligation"
	"sallyport/internal/plumbing/secret"
)

// permit asks a guard whose policies oblige pulling to limits.
func permit(t *testing.T, w *guardtest.World, obligations ...string) *guard.Permit {
	t.Helper()
	policies := guardtest.Policies
	for i, o := range obligations {
		policies += fmt.Sprintf(`
@id("t%d") @owner("test") @requirement("T") @text("T.") @obligation(%q)
permit (principal == User::"zoe", action == Action::"model.export", resource);`, i, o)
	}
	if len(obligations) == 0 {
		policies += `
@id("t") @owner("test") @requirement("T") @text("T.")
permit (principal == User::"zoe", action == Action::"model.export", resource);`
	}
	engine, err := guardtest.Compile(policies)
	if err != nil {
		t.Fatal(err)
	}
	w.Facts.Use(engine)
	return again(t, w)
}

func again(t *testing.T, w *guardtest.World) *guard.Permit {
	t.Helper()
	a, err := w.Guard.Check(t.Context(), guard.Call{Door: "test", Action: sallyport.ModelExport, CarryOut: obligation.Kinds(),
		Target: sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "open"},
		Proof:  guard.Proof{Bearer: secret.NewText(guardtest.Token("zoe", sallyport.MultiFactor, "x", "*")), Audience: "x"}})
	if err != nil || a.Permit == nil {
		t.Fatalf("%+v, %v", a.Decision, err)
	}
	t.Cleanup(func() { _ = a.Permit.Done(sallyport.Delivered{}) })
	return a.Permit
}

func TestLimitBytes(t *testing.T) {
	p := permit(t, guardtest.New(t), "limit-bytes=10")
	if n := obligation.Bytes(p); n != 10 {
		t.Fatalf("the permit covers %d", n)
	}
	var out bytes.Buffer
	w := obligation.Writer(p, &out)
	for _, c := range []struct {
		text string
		ok   bool
	}{{"12345", true}, {"123456", false}, {"", true}, {"67890", true}, {"x", false}, {"", true}} {
		n, err := w.Write([]byte(c.text))
		if (err == nil) != c.ok || c.ok && n != len(c.text) || !c.ok && (n != 0 || sallyport.KindOf(err) != sallyport.TooLarge) {
			t.Errorf("%q: %d, %v", c.text, n, err)
		}
	}
	if out.String() != "1234567890" || p.Bytes() != 10 {
		t.Errorf("%q left, %d counted", out.String(), p.Bytes())
	}
}

func TestTheLowestLimitCounts(t *testing.T) {
	if n := obligation.Bytes(permit(t, guardtest.New(t), "limit-bytes=10", "limit-bytes=7")); n != 7 {
		t.Errorf("the permit covers %d", n)
	}
	if n := obligation.Bytes(permit(t, guardtest.New(t))); n != -1 {
		t.Errorf("a permit without a limit covers %d", n)
	}
}

// TestLimitRateIsShared: the second permit of one principal on one resource gets
// what the first has left.
func TestLimitRateIsShared(t *testing.T) {
	w := guardtest.New(t)
	first := permit(t, w, "limit-rate=1000")
	second := again(t, w)
	var rates obligation.Rates
	var out bytes.Buffer
	if _, err := rates.Writer(first, &out).Write(make([]byte, 1000)); err != nil { // the burst
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := rates.Writer(second, &out).Write(make([]byte, 500)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("500 bytes at 1000 a second took %v", took)
	}
	if out.Len() != 1500 || second.Bytes() != 500 {
		t.Errorf("%d left, %d counted", out.Len(), second.Bytes())
	}
}

func TestACutEndsAWait(t *testing.T) {
	w := guardtest.New(t)
	p := permit(t, w, "limit-rate=10")
	var out bytes.Buffer
	time.AfterFunc(50*time.Millisecond, func() {
		w.Suspend("zoe")
		w.Guard.Sweep(context.Background(), 0)
	})
	n, err := obligation.Writer(p, &out).Write(make([]byte, 100_000))
	var cut *guard.Cut
	if !errors.As(err, &cut) || n != out.Len() || p.Bytes() != int64(n) || n > 100 {
		t.Errorf("%d left, %d counted, %v", n, p.Bytes(), err)
	}
	if n, err := obligation.Writer(p, &out).Write([]byte("x")); n != 0 || !errors.As(err, &cut) {
		t.Errorf("after the cut: %d, %v", n, err)
	}
}

type broken struct{}

func (broken) Write(b []byte) (int, error) { return len(b) / 2, errors.New("pipe") }

func TestWhatDidNotLeaveIsNotCounted(t *testing.T) {
	p := permit(t, guardtest.New(t), "limit-bytes=100")
	if n, err := obligation.Writer(p, broken{}).Write(make([]byte, 10)); n != 5 || err == nil || p.Bytes() != 5 {
		t.Errorf("%d, %v, %d counted", n, err, p.Bytes())
	}
}
