package recovery_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/recovery"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb/sqldbtest"
)

// A desk is the room on a database, with a clock that the test moves. "user:ana2" is a second account of ana.
type desk struct {
	*recovery.Service
	t    *testing.T
	at   time.Time
	path string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, at: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC), path: filepath.Join(t.TempDir(), "store.db")}
	db, err := sqldbtest.Open(t.Context(), d.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	now := func() time.Time { return d.at }
	throttle := &credential.Throttle{Store: db.Throttle(), Now: now, Limits: credential.DefaultLimits()}
	d.Service = &recovery.Service{Store: db.Recovery(), Delay: 24 * time.Hour, Throttle: throttle.Try, Right: throttle.Reset, Now: now, Random: rand.Reader,
		Person: func(_ context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) {
			return sallyport.PrincipalID(strings.TrimSuffix(string(id), "2")), nil
		}}
	return d
}

func (d *desk) codes(id sallyport.PrincipalID) []secret.Text {
	d.t.Helper()
	codes, err := d.NewCodes(d.t.Context(), id)
	if err != nil || len(codes) != recovery.Codes {
		d.t.Fatalf("%d codes, %v", len(codes), err)
	}
	return codes
}

func wantKind(t *testing.T, what string, err error, kind sallyport.Kind) {
	t.Helper()
	if err == nil || sallyport.KindOf(err) != kind {
		t.Errorf("%s = %v, want %v", what, err, kind)
	}
}

// Each code works once, however it is typed, for its person; new ones end the old.
func TestCodes(t *testing.T) {
	d := newDesk(t)
	codes, others := d.codes("user:ana"), d.codes("user:bo")
	for i, typed := range []string{codes[0].Reveal(), strings.ToLower(codes[1].Reveal()), " " + strings.ReplaceAll(codes[2].Reveal(), "-", " ") + "\n"} {
		if err := d.UseCode(t.Context(), "user:ana", secret.NewText(typed), noted); err != nil {
			t.Errorf("%q = %v", typed, err)
		}
		wantKind(t, "the same again", d.UseCode(t.Context(), "user:ana", codes[i], noted), sallyport.Unknown)
	}
	wantKind(t, "bo's code", d.UseCode(t.Context(), "user:ana", others[0], noted), sallyport.Unknown)
	if n, err := d.CodesLeft(t.Context(), "user:ana"); n != 7 || err != nil {
		t.Errorf("%d are left, %v", n, err)
	}
	fresh := d.codes("user:ana")
	wantKind(t, "a code from before", d.UseCode(t.Context(), "user:ana", codes[5], noted), sallyport.Unknown)
	if err := d.UseCode(t.Context(), "user:ana", fresh[0], noted); err != nil {
		t.Error(err)
	}
	for range 5 {
		wantKind(t, "a wrong code", d.UseCode(t.Context(), "user:ana", codes[5], noted), sallyport.Unknown)
	}
	wantKind(t, "a right one after five wrong ones", d.UseCode(t.Context(), "user:ana", fresh[1], noted), sallyport.Busy)
	for _, bad := range []string{"", "x", strings.Repeat("A", 1000), "AAAA-AAAA-AAAA-AAA"} {
		d.at = d.at.Add(25 * time.Hour)
		wantKind(t, bad, d.UseCode(t.Context(), "user:new", secret.NewText(bad), noted), sallyport.Unknown)
	}
}

// SESS4 for this room: the database holds no code.
func TestSESS4NoCodeAtRest(t *testing.T) {
	d := newDesk(t)
	codes := d.codes("user:ana")
	for _, file := range []string{d.path, d.path + "-wal"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range codes {
			if strings.Contains(string(raw), c.Reveal()) || strings.Contains(string(raw), strings.ReplaceAll(c.Reveal(), "-", "")) {
				t.Errorf("%s holds a code", filepath.Base(file))
			}
		}
	}
}

func TestOneCodeOnce(t *testing.T) {
	d := newDesk(t)
	code := d.codes("user:ana")[0]
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 4 { // as many guesses as are free
		wg.Go(func() {
			if d.UseCode(t.Context(), "user:ana", code, noted) == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("one code worked %d times", won.Load())
	}
}

// Two other people, a delay, one claim.
func TestRequest(t *testing.T) {
	d := newDesk(t)
	r, fresh, err := d.Ask(t.Context(), "user:ana", "user:ana", "my phone\nfell into the sea", written)
	if err != nil || !fresh || r.State != recovery.Asked || strings.Contains(r.Why, "\n") {
		t.Fatalf("Ask = %+v, %v", r, err)
	}
	if again, fresh, err := d.Ask(t.Context(), "user:ana", "user:bo", "me too", written); err != nil || fresh || again.ID != r.ID {
		t.Errorf("asking again = %+v, %v, %v", again, fresh, err)
	}
	approve := func(by sallyport.PrincipalID) error { _, err := d.Approve(t.Context(), r.ID, by, written); return err }
	claim := func(by sallyport.PrincipalID) error { _, err := d.Claim(t.Context(), r.ID, by, written); return err }
	wantKind(t, "approving one's own", approve("user:ana"), sallyport.Conflict)
	wantKind(t, "approving one's own from a second account", approve("user:ana2"), sallyport.Conflict)
	if err := approve("user:bo"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "approving twice", approve("user:bo2"), sallyport.Conflict)
	wantKind(t, "claiming with one approval", claim("user:bo"), sallyport.Conflict)
	if err := approve("user:eve"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "a third approval", approve("user:dan"), sallyport.Conflict)
	d.at = d.at.Add(24*time.Hour - time.Second)
	wantKind(t, "claiming within the delay", claim("user:bo"), sallyport.Conflict)
	d.at = d.at.Add(time.Second)
	wantKind(t, "claiming one's own", claim("user:ana"), sallyport.Conflict)
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if claim("user:bo") == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("claimed %d times", won.Load())
	}
	if open, err := d.Requests(t.Context(), "user:ana"); err != nil || len(open) != 0 {
		t.Errorf("still open: %v, %v", open, err)
	}
	if _, fresh, err := d.Ask(t.Context(), "user:ana", "user:ana", "", written); !fresh || err != nil {
		t.Errorf("a new one after it: %v, %v", fresh, err)
	}
}

// Whoever asks for somebody is not one of the two; a request ends by being cancelled, also in the delay, and by itself.
func TestRequestEnds(t *testing.T) {
	d := newDesk(t)
	r, _, err := d.Ask(t.Context(), "user:ana", "user:bo", "", written)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Approve(t.Context(), r.ID, "user:bo", written); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("the asker approves: %v", err)
	}
	for _, by := range []sallyport.PrincipalID{"user:eve", "user:dan"} {
		if _, err := d.Approve(t.Context(), r.ID, by, written); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := d.All(t.Context()); err != nil || len(all) != 1 || all[0].State != recovery.Approved {
		t.Errorf("open: %+v, %v", all, err)
	}
	if _, err := d.Cancel(t.Context(), r.ID, "user:ana", written); err != nil {
		t.Fatal(err)
	}
	d.at = d.at.Add(25 * time.Hour)
	_, err = d.Claim(t.Context(), r.ID, "user:eve", written)
	wantKind(t, "claiming what was cancelled", err, sallyport.Conflict)
	_, err = d.Cancel(t.Context(), r.ID, "user:ana", written)
	wantKind(t, "cancelling twice", err, sallyport.Conflict)

	late, _, err := d.Ask(t.Context(), "user:ana", "user:ana", "", written)
	if err != nil {
		t.Fatal(err)
	}
	d.at = d.at.Add(7 * 24 * time.Hour)
	_, err = d.Approve(t.Context(), late.ID, "user:eve", written)
	wantKind(t, "approving after a week", err, sallyport.Conflict)
	for _, id := range []string{"", "R-X"} {
		_, err = d.Approve(t.Context(), id, "user:eve", written)
		wantKind(t, "approving "+id, err, sallyport.NotFound)
	}
	_, _, err = d.Ask(t.Context(), "service:trainer", "user:ana", "", written)
	wantKind(t, "recovering a service", err, sallyport.Invalid)
}

// Votes that come at the same moment are two votes or one error, never one vote that is lost.
func TestParallelVotes(t *testing.T) {
	d := newDesk(t)
	r, _, err := d.Ask(t.Context(), "user:ana", "user:ana", "", written)
	if err != nil {
		t.Fatal(err)
	}
	var good atomic.Int64
	var wg sync.WaitGroup
	for _, by := range []sallyport.PrincipalID{"user:bo", "user:eve", "user:dan", "user:fay"} {
		wg.Go(func() {
			if _, err := d.Approve(t.Context(), r.ID, by, written); err == nil {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	got, err := d.Get(t.Context(), r.ID)
	if err != nil || int64(len(got.Votes)) != good.Load() || len(got.Votes) > recovery.Approvals {
		t.Errorf("%d good votes, kept %v, %v", good.Load(), got.Votes, err)
	}
}

// noted writes a use down.
func noted(int) error { return nil }

func written(recovery.Request) error { return nil }

// What cannot be written down does not happen: the request stands where it stood, and the same again goes on from there.
func TestRequestWithoutARecord(t *testing.T) {
	d, full := newDesk(t), errors.New("disk full")
	unwritten := func(recovery.Request) error { return full }
	ctx := t.Context()
	if _, _, err := d.Ask(ctx, "user:ana2", "user:bo", "", unwritten); !errors.Is(err, full) {
		t.Fatalf("Ask = %v", err)
	}
	if all, err := d.All(ctx); err != nil || len(all) != 0 {
		t.Errorf("asked: %v, %v", all, err)
	}
	r, fresh, err := d.Ask(ctx, "user:ana2", "user:bo", "", written)
	if err != nil || !fresh {
		t.Fatalf("Ask = %v, %v", fresh, err)
	}
	steps := []func(recovery.Note) error{
		func(n recovery.Note) error { _, err := d.Approve(ctx, r.ID, "user:eve", n); return err },
		func(n recovery.Note) error { _, err := d.Approve(ctx, r.ID, "user:dan", n); return err },
		func(n recovery.Note) error { _, err := d.Claim(ctx, r.ID, "user:eve", n); return err },
	}
	for i, do := range steps {
		if i == 2 {
			d.at = d.at.Add(25 * time.Hour)
			if _, err := d.Claim(ctx, r.ID, "user:ana", written); sallyport.KindOf(err) != sallyport.Conflict {
				t.Errorf("claiming for one's own second account: %v", err)
			}
		}
		before, err := d.Get(ctx, r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := do(unwritten); !errors.Is(err, full) {
			t.Errorf("step %d: %v", i, err)
		}
		if _, err := d.Cancel(ctx, r.ID, "user:ana", unwritten); !errors.Is(err, full) {
			t.Errorf("cancelling before step %d: %v", i, err)
		}
		after, err := d.Get(ctx, r.ID)
		if err != nil || after.Version != before.Version || after.State != before.State || len(after.Votes) != len(before.Votes) {
			t.Errorf("step %d made %+v of %+v, %v", i, after, before, err)
		}
		if err := do(written); err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
}

// A code that cannot be written down is not used up.
func TestCodeWithoutARecord(t *testing.T) {
	d := newDesk(t)
	codes, err := d.NewCodes(t.Context(), "user:ana")
	if err != nil {
		t.Fatal(err)
	}
	left, down := -1, errors.New("the disk is full")
	if err := d.UseCode(t.Context(), "user:ana", codes[0], func(n int) error { left = n; return down }); !errors.Is(err, down) || left != len(codes)-1 {
		t.Errorf("UseCode = %v, with %d left", err, left)
	}
	if err := d.UseCode(t.Context(), "user:ana", codes[0], noted); err != nil {
		t.Errorf("the same code when it can be: %v", err)
	}
	if n, err := d.CodesLeft(t.Context(), "user:ana"); err != nil || n != len(codes)-1 {
		t.Errorf("%d left, %v", n, err)
	}
}

func FuzzUseCode(f *testing.F) {
	f.Add("AAAA-AAAA-AAAA-AAAA")
	f.Add("")
	f.Fuzz(func(t *testing.T, typed string) {
		s := &recovery.Service{Store: none{}, Throttle: func(context.Context, string) error { return nil }}
		if err := s.UseCode(t.Context(), "user:ana", secret.NewText(typed), noted); sallyport.KindOf(err) != sallyport.Unknown {
			t.Errorf("%q = %v", typed, err)
		}
	})
}

type none struct{ recovery.Store }

func (none) FindCode(context.Context, sallyport.PrincipalID, [32]byte) (int, bool, error) {
	return 0, false, nil
}

func (none) UseCode(context.Context, sallyport.PrincipalID, [32]byte) (bool, error) {
	return false, nil
}
