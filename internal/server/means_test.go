package server

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/watch/detect"
	"sallyport/internal/watch/respond"
)

// A crash between a step and keeping that it was taken has it taken again: for one finding nothing is raised, held or told twice,
// and for another it is.
func TestStepsAreTakenOnce(t *testing.T) {
	dir := t.TempDir()
	s, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Plaintext: true, Data: filepath.Join(dir, "data"), KeyFile: filepath.Join(dir, "keys", "kek"), Admin: "root", Organisation: "acme"},
		slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ctx, who := t.Context(), sallyport.PrincipalID("user:ana")
	if _, err := s.rooms.directory.Create(ctx, directory.Member{ID: who, Org: "acme"}); err != nil {
		t.Fatal(err)
	}
	if err := s.facts.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	means, step := s.means(), respond.Step{Verb: respond.Raise, Points: 60, For: time.Hour, Settles: sallyport.PhishingResistant}
	did := map[string]int{}
	for _, id := range []string{"F-1", "F-1", "F-2"} {
		why := detect.TokenTheft + " (" + id + ")"
		raised, err := means.Raise(ctx, string(who), step, why)
		if err != nil {
			t.Fatal(err)
		}
		held, err := means.Hold(ctx, string(who), why, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := means.Notify(ctx, detect.Finding{ID: id, Rule: detect.TokenTheft, Who: who, Text: "x"}); err != nil {
			t.Fatal(err)
		}
		did[raised]++
		did[held]++
	}
	if len(did) != 4 {
		t.Errorf("did %v", did)
	}
	if all, err := s.rooms.habits.Raises.RaisesAt(ctx, s.clock(), []string{string(who)}, 10); err != nil || len(all) != 2 || all[0].Settles != sallyport.PhishingResistant {
		t.Errorf("raised %+v, %v", all, err)
	}
	if all, err := s.rooms.holds.List(ctx, string(who)); err != nil || len(all) != 2 {
		t.Errorf("held %+v, %v", all, err)
	}
	told := 0
	all, err := s.watch.notices.Inbox(ctx, who, false)
	for _, n := range all {
		if n.Kind == "finding."+detect.TokenTheft {
			told++
		}
	}
	if err != nil || told != 2 {
		t.Errorf("told %d times, %v", told, err)
	}
}
