package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/watch/detect"
	"sallyport/internal/watch/respond"
)

// A desk answers findings and writes down what it would have done.
type desk struct {
	*respond.Service
	did   []string
	fail  string // the first word of what fails
	clock *turnedClock
}

func newDesk(t *testing.T, db *sqldb.DB, changes map[string][]string) *desk {
	t.Helper()
	table, err := respond.NewTable(changes)
	must(t, err)
	d := &desk{clock: newTurnedClock()}
	do := func(words ...string) (string, error) {
		if words[0] == d.fail {
			return "", errors.New("down")
		}
		d.did = append(d.did, strings.Join(words, " "))
		return map[string]string{"raise": "K-1 on somebody", "hold": "H-1 on something"}[words[0]] + "", nil
	}
	d.Service = &respond.Service{Findings: db.Finding(), Table: table, Clock: d.clock.Now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Protected: func(_ context.Context, who sallyport.PrincipalID) (bool, error) { return who == "user:warden", nil },
		Means: respond.Means{
			Notify: func(_ context.Context, f detect.Finding) (string, error) { return do("notify", string(f.Who)) },
			Alert:  func(_ context.Context, f detect.Finding, why string) (string, error) { return do("alert", f.ID) },
			Raise: func(_ context.Context, target string, step respond.Step, _ string) (string, error) {
				return do("raise", target, step.String())
			},
			Hold: func(_ context.Context, target, why string, lasts time.Duration) (string, error) {
				return do("hold", target, lasts.String())
			},
			End: func(_ context.Context, f detect.Finding) (string, error) { return do("end", f.Subject) },
			Clear: func(_ context.Context, id string, by sallyport.PrincipalID) error {
				_, err := do("clear", id, string(by))
				return err
			},
			Lift: func(_ context.Context, id, why string, by sallyport.Principal) error {
				_, err := do("lift", id, string(by.ID))
				return err
			},
		}}
	return d
}

func (d *desk) find(t *testing.T, n int, rule, subject string, who sallyport.PrincipalID) {
	t.Helper()
	f := detect.Finding{ID: fmt.Sprintf("F-%d", n), Rule: rule, Severity: detect.High, Who: who, Subject: subject, At: d.clock.Now(), Text: "x", State: detect.New}
	must(t, d.Findings.Put(t.Context(), []detect.Finding{f}, uint64(n)))
}

func TestRespond(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		d := newDesk(t, open(), map[string][]string{detect.SharedCredential: {"hold=1h", "end", "notify"}, detect.Probing: {}})
		d.find(t, 1, detect.TokenReused, "family:F-1", "user:ana")
		d.find(t, 2, detect.SharedCredential, "session:S-1", "user:ana")
		d.find(t, 3, detect.Probing, "network:x", "")
		d.find(t, 4, detect.DenialBurst, "network:x", "")
		d.find(t, 5, detect.SharedCredential, "device:DV-1", "user:warden")
		must(t, d.Answer(t.Context()))
		want := []string{"end family:F-1", "raise user:ana raise=60/12h0m0s/phr", "notify user:ana", "alert F-1",
			"hold session:S-1 1h0m0s", "end session:S-1", "notify user:ana", "alert F-4", "end device:DV-1", "notify user:warden"}
		if !slices.Equal(d.did, want) {
			t.Errorf("did\n%s\nwant\n%s", strings.Join(d.did, "\n"), strings.Join(want, "\n"))
		}
		must(t, d.Answer(t.Context()))
		if len(d.did) != len(want) {
			t.Errorf("answered twice: %v", d.did[len(want):])
		}
		all, err := d.Findings.Findings(t.Context(), detect.Filter{State: detect.Answered, Oldest: true})
		if err != nil || len(all) != 5 || len(all[0].Did) != 4 || !strings.Contains(all[4].Did[0], "left to a person: they hold the last way in") {
			t.Errorf("kept %+v, %v", all, err)
		}
	})
}

// A step that fails is tried again, those before it are not.
func TestRespondAfterAFailure(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		d := newDesk(t, open(), nil)
		d.find(t, 1, detect.ClonedPasskey, "user:ana", "user:ana")
		d.fail = "notify"
		if err := d.Answer(t.Context()); err == nil {
			t.Error("no error")
		}
		d.fail = ""
		must(t, d.Answer(t.Context()))
		if want := []string{"raise user:ana raise=60/24h0m0s", "notify user:ana", "alert F-1"}; !slices.Equal(d.did, want) {
			t.Errorf("did %q, want %q", d.did, want)
		}
	})
}

// What fails again and again does not count as done: when it can be done it is.
func TestBreakerCountsWhatWasDone(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		d := newDesk(t, open(), map[string][]string{detect.SharedCredential: {"hold=1h", "end"}})
		d.find(t, 1, detect.SharedCredential, "session:S-1", "user:ana")
		for _, d.fail = range []string{"hold", "end"} {
			for range 12 {
				if d.Answer(t.Context()) == nil {
					t.Fatal("no error")
				}
			}
		}
		d.fail = ""
		must(t, d.Answer(t.Context()))
		if want := []string{"hold session:S-1 1h0m0s", "end session:S-1"}; !slices.Equal(d.did, want) {
			t.Errorf("did %q, want %q", d.did, want)
		}
	})
}

// A finding that cannot be answered keeps none of the others waiting.
func TestRespondToTheOthers(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		d := newDesk(t, open(), nil)
		d.find(t, 1, detect.ClonedPasskey, "user:ana", "user:ana")
		d.find(t, 2, detect.DenialBurst, "network:x", "")
		d.fail = "raise"
		if err := d.Answer(t.Context()); err == nil || !strings.Contains(err.Error(), "F-1") {
			t.Errorf("of the first: %v", err)
		}
		if !slices.Equal(d.did, []string{"alert F-2"}) {
			t.Errorf("did %q", d.did)
		}
		d.fail = ""
		must(t, d.Answer(t.Context()))
		if len(d.did) != 4 {
			t.Errorf("did %q", d.did)
		}
	})
}

// More than ten holds and ended sessions in ten minutes are left to a person, who is told; later they are done again.
func TestBreaker(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		d := newDesk(t, open(), map[string][]string{detect.SharedCredential: {"hold=1h"}})
		for n := range 11 {
			d.find(t, n+1, detect.SharedCredential, fmt.Sprintf("session:S-%02d", n), "user:ana")
			d.clock.turn(time.Second)
		}
		must(t, d.Answer(t.Context()))
		held := func() int {
			return len(slices.DeleteFunc(slices.Clone(d.did), func(s string) bool { return !strings.HasPrefix(s, "hold") }))
		}
		if held() != 10 || d.did[len(d.did)-1] != "alert F-11" {
			t.Errorf("%d were held, at last %q", held(), d.did[len(d.did)-1])
		}
		d.clock.turn(11 * time.Minute)
		d.find(t, 20, detect.SharedCredential, "session:S-20", "user:ana")
		must(t, d.Answer(t.Context()))
		if held() != 11 {
			t.Errorf("%d were held after a while", held())
		}
	})
}

// Every step that can be is taken back when it was nothing.
func TestRespondIsReversible(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		d := newDesk(t, open(), map[string][]string{detect.SharedCredential: {"raise=10/1h", "hold=1h", "notify"}})
		d.find(t, 1, detect.SharedCredential, "session:S-1", "user:ana")
		must(t, d.Answer(t.Context()))
		f, err := d.Findings.Finding(t.Context(), "F-1")
		must(t, err)
		d.did = nil
		undone, err := d.Undo(t.Context(), f, sallyport.Principal{ID: "user:eve", Person: "user:eve"})
		if want := []string{"clear K-1 user:eve", "lift H-1 user:eve"}; err != nil || !slices.Equal(d.did, want) || !slices.Equal(undone, []string{"K-1", "H-1"}) {
			t.Errorf("undone %v by %v, %v", undone, d.did, err)
		}
	})
}

// Chance ends nothing: only rules with certain evidence may hold and end, and every hold ends.
func TestRespondTable(t *testing.T) {
	for name, changes := range map[string]map[string][]string{
		"an unknown rule":           {"weather": {"notify"}},
		"an unknown step":           {detect.TokenTheft: {"lock"}},
		"a hold without an end":     {detect.TokenTheft: {"hold"}},
		"a hold for a week":         {detect.TokenTheft: {"hold=168h"}},
		"a raise of nothing":        {detect.TokenTheft: {"raise=0/1h"}},
		"a raise that never fades":  {detect.TokenTheft: {"raise=50"}},
		"settled by a password":     {detect.TokenTheft: {"raise=50/1h/aal1"}},
		"settled by a code":         {detect.TokenTheft: {"raise=50/1h/aal2"}},
		"settled by nothing":        {detect.TokenTheft: {"raise=50/1h/"}},
		"settled by no level":       {detect.TokenTheft: {"raise=50/1h/phr/x"}},
		"an end with a measure":     {detect.TokenTheft: {"end=1h"}},
		"too many steps":            {detect.TokenTheft: slices.Repeat([]string{"notify"}, 9)},
		"a hold for a count":        {detect.DenialBurst: {"hold=1h"}},
		"an end for two devices":    {detect.TwoDevices: {"end"}},
		"an end for what is probed": {detect.Probing: {"notify", "end"}},
	} {
		if _, err := respond.NewTable(changes); sallyport.KindOf(err) != sallyport.Invalid && sallyport.KindOf(err) != sallyport.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
	table, err := respond.NewTable(nil)
	must(t, err)
	for _, r := range detect.Rules() {
		for _, step := range table[r.Name] {
			if again, err := respond.ParseStep(step.String()); err != nil || again != step {
				t.Errorf("%s is read as %v, %v", step, again, err)
			}
			if (step.Verb == respond.End || step.Verb == respond.Hold) && !r.Certain {
				t.Errorf("%s: %s", r.Name, step)
			}
		}
	}
}

func FuzzParseStep(f *testing.F) {
	for _, s := range []string{"notify", "raise=60/24h", "raise=60/12h/phr", "hold=1h", "end", "hold=", "raise=/", "=", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		step, err := respond.ParseStep(s)
		if err != nil {
			return
		}
		if again, err := respond.ParseStep(step.String()); err != nil || again != step {
			t.Errorf("%q is %v, and again %v, %v", s, step, again, err)
		}
	})
}
