package bench

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/authz/policy/cedar"
)

func TestSampled(t *testing.T) {
	times := make([]time.Duration, 0, 100)
	for i := 100; i > 0; i-- {
		times = append(times, time.Duration(i)*time.Microsecond)
	}
	s := sampled(times, time.Second)
	if s.rate != 100 || s.p50 != 51*time.Microsecond || s.p99 != 100*time.Microsecond {
		t.Errorf("100 times of 1 to 100 µs in a second gave %+v", s)
	}
	if s := sampled(nil, time.Second); s.rate != 0 {
		t.Errorf("nothing gave %+v", s)
	}
}

// TestTurns holds the order A B A B and that the first turns are not kept.
func TestTurns(t *testing.T) {
	var order strings.Builder
	one := func(name string) side {
		n := 0.0
		return func(context.Context) (sample, error) {
			order.WriteString(name)
			n++
			return sample{rate: n}, nil
		}
	}
	all, err := turns(t.Context(), 2, one("A"), one("B"))
	if err != nil || order.String() != "ABABAB" || !slices.Equal(of(all[1], rate), []float64{2, 3}) {
		t.Errorf("order %s, kept %v, %v", &order, all, err)
	}
	failed := errors.New("no")
	if _, err := turns(t.Context(), 2, func(context.Context) (sample, error) { return sample{}, failed }); !errors.Is(err, failed) {
		t.Errorf("a side that failed gave %v", err)
	}
	if _, err := turns(t.Context(), 2, func(context.Context) (sample, error) { return sample{}, nil }); err == nil {
		t.Error("a side that did nothing is no error")
	}
}

func TestRows(t *testing.T) {
	r := ratio([]float64{1, 6, 2}, []float64{2, 4, 2}, "µs", "nothing").atLeast(0.8)
	if r.Value != 1 || r.Low != 0.5 || r.High != 1.5 || r.Ours != 2 || r.Base != 2 || r.Unit != "×" || r.Met == nil || !*r.Met {
		t.Errorf("%+v: the ratio is taken round by round", r)
	}
	a := added([]float64{3, 4, 5}, []float64{1, 1, 1}, "ms", "nothing").atMost(2.9)
	if a.Value != 3 || a.Unit != "ms" || *a.Met {
		t.Errorf("%+v: 3 ms are added, which is above 2.9", a)
	}
	missed := Report{Rows: []Row{r, a, figure([]float64{1}, "B")}}.Missed()
	if len(missed) != 1 || missed[0].Value != 3 {
		t.Errorf("missed: %+v", missed)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.0012345: "0.00123", 1: "1", 1.5: "1.5", 12.345: "12.3", 214123.4: "214123", -0.5: "-0.5", 30_000: "30000"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

// TestWithoutScopes holds that no policy keeps a scope: one that did would be
// skipped by the index, and the baseline would be too fast.
func TestWithoutScopes(t *testing.T) {
	for _, text := range cedar.NewWorkload(40, 1_000).Source.Policies {
		moved := withoutScopes(text)
		if n := strings.Count(moved, "(principal, action, resource)"); n != 40 {
			t.Errorf("%d of 40 policies have no scope:\n%s", n, moved)
		}
		if !strings.Contains(moved, `principal in Group::"bench/g6" && action in [Action::"use", Action::"model.read"] && resource in Project::"bench/p0" && (`) {
			t.Errorf("the scopes did not become conditions:\n%s", moved)
		}
	}
}
