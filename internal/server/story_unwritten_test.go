package server_test

import (
	"bytes"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// I-01: where the one record of a change cannot be written, what loosens does not happen and what stops does: after a restart
// a hold that was to be lifted is there, and so is one that was to be placed; nobody asked for what was to be asked for, a vote
// that was to be cast does not count, and a grant that was to be revoked is over;
// who was to join drills has not, and training that was to be recorded does not count.
func TestWhatIsNotWrittenLoosensNothing(t *testing.T) {
	var refuse atomic.Pointer[[]byte]
	files := trail.Files{Write: func(f *os.File, b []byte) (int, error) {
		if x := refuse.Load(); x != nil && bytes.Contains(b, *x) {
			return 0, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
		}
		return f.Write(b)
	}}
	r := tellAnew(t, files)
	ctx := t.Context()
	without := func(event sallyport.EventType, what string, do func() error) {
		t.Helper()
		record := []byte(strconv.Quote(string(event)))
		refuse.Store(&record)
		r.heard(what, do())
		r.WantStatus(503)
		refuse.Store(nil)
		if err := r.server.Close(); err != nil {
			t.Fatal(err)
		}
		if err := r.start(ctx, files); err != nil {
			t.Fatal(err)
		}
	}
	h := r.As("rita").Lock("user:tess")
	r.WantStatus(200)
	without(sallyport.EventHoldLifted, "unlock", func() error {
		_, err := r.As("ravi").who.client.Unlock(ctx, h.ID, api.Lock{Target: h.Target, Why: "fine", Without: "nothing was"})
		return err
	})
	r.As("tess").Infer(keel)
	r.Want(held)
	without(sallyport.EventHoldPlaced, "lock", func() error {
		_, err := r.As("rita").who.client.Lock(ctx, api.Lock{Target: "user:eva", Why: "odd"})
		return err
	})
	r.As("eva").Infer(keel)
	r.Want(held)
	ask := api.Ask{Action: sallyport.ModelPull, Resource: fraud, For: "1h", Why: "the story needs it"}
	without(sallyport.EventGrantRequested, "request", func() error {
		_, err := r.As("ana").who.client.Ask(ctx, ask)
		return err
	})
	if asked, err := r.As("ana").who.client.Asked(ctx); err != nil || len(asked) != 0 {
		t.Errorf("she asked for %v, %v", asked, err)
	}
	x := r.As("ana").Request(ask.Action, ask.Resource, ask.For)
	without(sallyport.EventGrantVoted, "approve", func() error {
		_, err := r.As("rita").who.client.Vote(ctx, x, true, "fine")
		return err
	})
	r.As("ana").Pull(fraud)
	r.Want(denied)
	r.As("rita").Approve(x) // what did not count is said again
	r.As("ana").Pull(fraud)
	r.Want(allowed)
	grants, err := r.As("ana").who.client.Grants(ctx, false)
	if err != nil || len(grants) != 1 {
		t.Fatalf("grants %v, %v", grants, err)
	}
	without(sallyport.EventGrantRevoked, "revoke", func() error {
		_, err := r.As("rita").who.client.RevokeGrant(ctx, grants[0].ID, grants[0].Resource)
		return err
	})
	r.As("ana").Pull(fraud)
	r.Want(denied)

	without(sallyport.EventDrill, "join drills", func() error {
		_, err := r.As("ana").who.client.Volunteer(ctx, api.Volunteering{Join: true})
		return err
	})
	without(sallyport.EventTrained, "record training", func() error {
		_, err := r.As("adam").who.client.RecordTraining(ctx, "user:ana", api.Trained{At: r.clock.Now().Add(-time.Hour), Why: "a seminar"})
		return err
	})
	if mine, err := r.As("ana").who.client.MyDrills(ctx); err != nil || !mine.Volunteer.IsZero() || !mine.Training.At.IsZero() {
		t.Errorf("of ana is kept %+v, %v", mine, err)
	}
}
