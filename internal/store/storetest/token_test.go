package storetest

import (
	"cmp"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/identity/token/keys"
	"sallyport/internal/store/sqldb"
)

func TestTokenKeys(t *testing.T) { Run(t, testTokenKeys) }

func TestTokenFamilies(t *testing.T) { Run(t, testTokenFamilies) }

func TestTokenRefreshOA24(t *testing.T) { Run(t, testTokenRefresh) }

func TestTokenCodes(t *testing.T) { Run(t, testTokenCodes) }

func TestTokenCodesAtOnceOA20(t *testing.T) { Run(t, testTokenCodesAtOnce) }

func TestTokenDevices(t *testing.T) { Run(t, testTokenDevices) }

func TestTokenSweep(t *testing.T) { Run(t, testTokenSweep) }

func tokenTime() time.Time { return time.Date(2026, 11, 20, 10, 0, 0, 123_000, time.UTC) }

func tokenFamily(id string) token.Family {
	return token.Family{
		ID: id, Principal: "service:trainer", Person: "user:ana", Client: "sallyport-cli", Session: "S-1",
		Scope: sallyport.Scope{"model.infer@acme/fraud", "model.read"}, Audiences: []string{"https://s.example/api", "https://s.example/hf"},
		Assurance: sallyport.MultiFactor, Methods: []string{"pwd", "otp"}, AuthTime: tokenTime().Truncate(time.Second),
		Created: tokenTime(), Expires: tokenTime().Add(time.Hour),
	}
}

func wantKind(t *testing.T, what string, err error, want sallyport.Kind) {
	t.Helper()
	if err == nil || sallyport.KindOf(err) != want {
		t.Errorf("%s = %v, want an error of kind %v", what, err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testTokenKeys(t *testing.T, open func() *sqldb.DB) {
	a, b := open().Token(), open().Token()
	var want []keys.Row
	for g := range int64(3) {
		row := keys.Row{Generation: g + 1, ID: string(rune('a' + g)), From: tokenTime().Add(time.Duration(g) * time.Hour), Sealed: []byte{0, byte(g), 255}}
		must(t, a.AddSigningKey(t.Context(), row))
		want = append(want, row)
	}
	wantKind(t, "the generation of another key", b.AddSigningKey(t.Context(), keys.Row{Generation: 3, ID: "z", From: tokenTime(), Sealed: []byte{1}}), sallyport.Conflict)
	got, err := b.SigningKeys(t.Context())
	if diff := gocmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("SigningKeys: %v, -want +got:\n%s", err, diff)
	}
	must(t, b.DropSigningKeys(t.Context(), 3))
	got, err = a.SigningKeys(t.Context())
	if diff := gocmp.Diff(want[2:], got); diff != "" || err != nil {
		t.Errorf("SigningKeys after drop: %v, -want +got:\n%s", err, diff)
	}
}

func testTokenFamilies(t *testing.T, open func() *sqldb.DB) {
	db, other := open(), open().Token()
	s := db.Token()
	f1, f2, f3 := tokenFamily("one"), tokenFamily("two"), tokenFamily("three")
	f2.Session, f2.Principal, f2.Created = "S-2", "user:ana", f2.Created.Add(time.Second)
	f3.Session, f3.Principal, f3.Person = "S-3", "user:bo", "user:bo"
	for _, f := range []token.Family{f1, f2, f3} {
		must(t, s.StartFamily(t.Context(), f))
	}
	wantKind(t, "a family twice", s.StartFamily(t.Context(), f1), sallyport.Conflict)
	for _, test := range []struct {
		sel  token.Selector
		want []token.Family
	}{
		{token.Selector{Family: "one"}, []token.Family{f1}},
		{token.Selector{Session: "S-2"}, []token.Family{f2}},
		{token.Selector{Principal: "user:bo"}, []token.Family{f3}},
		{token.Selector{Person: "user:ana"}, []token.Family{f2, f1}},
		{token.Selector{Person: "user:nobody"}, nil},
	} {
		got, err := other.Families(t.Context(), test.sel)
		if diff := gocmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("Families(%+v): %v, -want +got:\n%s", test.sel, err, diff)
		}
	}
	for _, sel := range []token.Selector{{}, {Family: "one", Session: "S-1"}} { // nothing is not everything
		_, err := s.Families(t.Context(), sel)
		wantKind(t, "a bad selector", err, sallyport.Other)
		_, err = s.RevokeFamilies(t.Context(), sel, tokenTime(), "x")
		wantKind(t, "a bad selector", err, sallyport.Other)
	}
	testTokenRevocation(t, db, other)
}

func testTokenRevocation(t *testing.T, db *sqldb.DB, other sqldb.Tokens) {
	s, at := db.Token(), tokenTime().Add(time.Minute)
	seq, err := db.Latest(t.Context())
	must(t, err)
	dead, err := s.RevokeFamilies(t.Context(), token.Selector{Person: "user:ana"}, at, "left")
	slices.SortFunc(dead, func(a, b token.Revoked) int { return cmp.Compare(a.Family, b.Family) })
	want := []token.Revoked{{Family: "one", At: at, Reason: "left"}, {Family: "two", At: at, Reason: "left"}}
	if diff := gocmp.Diff(want, dead); diff != "" || err != nil {
		t.Errorf("RevokeFamilies: %v, -want +got:\n%s", err, diff)
	}
	changes, err := db.Since(t.Context(), seq)
	if err != nil || len(changes) != 1 || changes[0].Kind != sqldb.Session {
		t.Errorf("the feed after a revocation = %v, %v, want one change of sessions", changes, err)
	}
	again, err := s.RevokeFamilies(t.Context(), token.Selector{Person: "user:ana"}, at.Add(time.Hour), "again")
	if len(again) != 0 || err != nil {
		t.Errorf("a second revocation = %v, %v, want nothing: the first one's time stays", again, err)
	}
	got, err := other.Revoked(t.Context(), at)
	if diff := gocmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Revoked: %v, -want +got:\n%s", err, diff)
	}
	if got, err = other.Revoked(t.Context(), at.Add(time.Microsecond)); len(got) != 0 || err != nil {
		t.Errorf("Revoked after that time = %v, %v, want nothing", got, err)
	}
	wantKind(t, "a token for a dead family", s.AddRefresh(t.Context(), token.Refresh{Hash: token.HashOf("r"), Family: "one", Created: at, Expires: at.Add(time.Hour)}), sallyport.Conflict)
	wantKind(t, "a token for no family", s.AddRefresh(t.Context(), token.Refresh{Hash: token.HashOf("r"), Family: "none", Created: at, Expires: at.Add(time.Hour)}), sallyport.Conflict)
}

// testTokenRefresh lets fifty callers on two nodes rotate one token.
func testTokenRefresh(t *testing.T, open func() *sqldb.DB) {
	nodes := []sqldb.Tokens{open().Token(), open().Token()}
	s, at := nodes[0], tokenTime()
	f := tokenFamily("one")
	must(t, s.StartFamily(t.Context(), f))
	first := token.Refresh{Hash: token.HashOf("first"), Family: "one", Created: at, Expires: at.Add(time.Minute)}
	must(t, s.AddRefresh(t.Context(), first))
	f.LastIssued = at
	got, gotFamily, err := nodes[1].FindRefresh(t.Context(), first.Hash)
	if diff := gocmp.Diff(first, got) + gocmp.Diff(f, gotFamily); diff != "" || err != nil {
		t.Errorf("FindRefresh: %v, -want +got:\n%s", err, diff)
	}
	_, _, err = s.FindRefresh(t.Context(), token.HashOf("firs"))
	wantKind(t, "FindRefresh of a part of a token", err, sallyport.NotFound)

	var wg sync.WaitGroup
	results := make([]error, 50)
	for i := range results {
		wg.Go(func() {
			next := token.Refresh{Hash: token.HashOf("next" + string(rune('A'+i))), Family: "one", Created: at.Add(time.Second), Expires: at.Add(time.Minute)}
			results[i] = nodes[i%2].RotateRefresh(t.Context(), first.Hash, next)
		})
	}
	wg.Wait()
	won := -1
	for i, err := range results {
		if err == nil && won < 0 {
			won = i
		} else if err == nil || sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("rotation %d = %v, want Conflict: somebody else has won", i, err)
		}
	}
	if won < 0 {
		t.Fatal("nobody won")
	}
	for i := range results {
		_, _, err := s.FindRefresh(t.Context(), token.HashOf("next"+string(rune('A'+i))))
		if (err == nil) != (i == won) {
			t.Errorf("the token of caller %d: %v; only that of caller %d exists", i, err, won)
		}
	}
	used, _, err := s.FindRefresh(t.Context(), first.Hash)
	if err != nil || !used.Used.Equal(at.Add(time.Second)) {
		t.Errorf("the first token = %+v, %v, want it used", used, err)
	}
	late := token.Refresh{Hash: token.HashOf("late"), Family: "one", Created: at.Add(time.Minute), Expires: at.Add(time.Hour)}
	wantKind(t, "rotation of an expired token", s.RotateRefresh(t.Context(), token.HashOf("next"+string(rune('A'+won))), late), sallyport.Conflict)
	_, err = s.RevokeFamilies(t.Context(), token.Selector{Family: "one"}, at, "test")
	must(t, err)
	late.Created = at.Add(2 * time.Second)
	wantKind(t, "rotation in a dead family", s.RotateRefresh(t.Context(), token.HashOf("next"+string(rune('A'+won))), late), sallyport.Conflict)
}

func testTokenCodes(t *testing.T, open func() *sqldb.DB) {
	s, at := open().Token(), tokenTime()
	must(t, s.StartFamily(t.Context(), tokenFamily("one")))
	want := codes.Code{Hash: token.HashOf("code"), Family: "one", Client: "sallyport-cli", RedirectURI: "http://127.0.0.1:4242/callback", Challenge: "c", Expires: at.Add(time.Minute)}
	must(t, s.AddCode(t.Context(), want))
	_, err := s.TakeCode(t.Context(), want.Hash, "another", at)
	wantKind(t, "another client's code", err, sallyport.NotFound)
	_, err = s.TakeCode(t.Context(), token.HashOf("cod"), "sallyport-cli", at)
	wantKind(t, "a part of a code", err, sallyport.NotFound)
	_, err = s.FindCode(t.Context(), want.Hash, "another")
	wantKind(t, "looking at another client's code", err, sallyport.NotFound)
	for range 2 {
		got, err := s.FindCode(t.Context(), want.Hash, "sallyport-cli")
		if diff := gocmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("FindCode, which changes nothing: %v, -want +got:\n%s", err, diff)
		}
	}
	got, err := s.TakeCode(t.Context(), want.Hash, "sallyport-cli", at)
	if diff := gocmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("TakeCode: %v, -want +got:\n%s", err, diff)
	}
	got, err = s.TakeCode(t.Context(), want.Hash, "sallyport-cli", at)
	wantKind(t, "a code twice", err, sallyport.Conflict)
	if got.Family != "one" {
		t.Errorf("a code twice: family %q, want it named", got.Family)
	}
	got, err = s.FindCode(t.Context(), want.Hash, "sallyport-cli")
	wantKind(t, "looking at a used code", err, sallyport.Conflict)
	if got.Family != "one" {
		t.Errorf("looking at a used code: family %q, want it named", got.Family)
	}
}

// testTokenCodesAtOnce has two nodes use one code of each kind, many times at once: one use succeeds, all others learn that
// it was used.
func testTokenCodesAtOnce(t *testing.T, open func() *sqldb.DB) {
	nodes, at := []sqldb.Tokens{open().Token(), open().Token()}, tokenTime()
	must(t, nodes[0].StartFamily(t.Context(), tokenFamily("one")))
	code := codes.Code{Hash: token.HashOf("code"), Family: "one", Client: "sallyport-cli", Challenge: "c", Expires: at.Add(time.Minute)}
	must(t, nodes[0].AddCode(t.Context(), code))
	device := codes.Device{Hash: token.HashOf("device"), UserHash: token.HashOf("BCDFGHJK"), Client: "sallyport-cli", State: codes.Pending, Created: at, Expires: at.Add(time.Minute), Interval: time.Second}
	must(t, nodes[0].AddDevice(t.Context(), device))
	wantKind(t, "a device code that nobody has approved", nodes[0].TakeDevice(t.Context(), device.Hash), sallyport.Conflict)
	must(t, nodes[0].DecideDevice(t.Context(), device.UserHash, codes.Approved, "one", at))
	for what, use := range map[string]func(s sqldb.Tokens) error{
		"authorization code": func(s sqldb.Tokens) error { _, err := s.TakeCode(t.Context(), code.Hash, code.Client, at); return err },
		"device code":        func(s sqldb.Tokens) error { return s.TakeDevice(t.Context(), device.Hash) },
	} {
		wantOneWinner(t, func(i int) bool {
			err := use(nodes[i%2])
			if err != nil && sallyport.KindOf(err) != sallyport.Conflict {
				t.Errorf("%s: %v, want Conflict: somebody else has used it", what, err)
			}
			return err == nil
		})
	}
}

func testTokenDevices(t *testing.T, open func() *sqldb.DB) {
	s, at := open().Token(), tokenTime()
	d := codes.Device{
		Hash: token.HashOf("device"), UserHash: token.HashOf("BCDFGHJK"), Client: "sallyport-cli", Scope: sallyport.Scope{"model.infer"},
		Audiences: []string{"https://s.example/api"}, From: "192.0.2.7", State: codes.Pending, Created: at, Expires: at.Add(10 * time.Minute), Interval: 5 * time.Second,
	}
	must(t, s.AddDevice(t.Context(), d))
	twin := d
	twin.Hash = token.HashOf("twin")
	wantKind(t, "a user code in use", s.AddDevice(t.Context(), twin), sallyport.Conflict)
	got, err := s.FindDevice(t.Context(), d.UserHash, at)
	if diff := gocmp.Diff(d, got); diff != "" || err != nil {
		t.Errorf("FindDevice: %v, -want +got:\n%s", err, diff)
	}
	_, err = s.FindDevice(t.Context(), d.UserHash, d.Expires)
	wantKind(t, "FindDevice when it has expired", err, sallyport.NotFound)
	_, err = s.PollDevice(t.Context(), d.Hash, "another", at)
	wantKind(t, "another client's poll", err, sallyport.NotFound)

	poll := func(after time.Duration, state codes.State, slow bool, interval time.Duration) {
		t.Helper()
		got, err := s.PollDevice(t.Context(), d.Hash, d.Client, at.Add(after))
		if err != nil || got.State != state || got.Slow != slow || got.Interval != interval {
			t.Errorf("poll after %v = %s slow=%v every %v, %v; want %s slow=%v every %v", after, got.State, got.Slow, got.Interval, err, state, slow, interval)
		}
	}
	poll(0, codes.Pending, false, 5*time.Second)
	poll(time.Second, codes.Pending, true, 10*time.Second)
	poll(6*time.Second, codes.Pending, true, 15*time.Second)
	poll(21*time.Second, codes.Pending, false, 15*time.Second)
	must(t, s.DecideDevice(t.Context(), d.UserHash, codes.Approved, "one", at))
	wantKind(t, "a second decision", s.DecideDevice(t.Context(), d.UserHash, codes.Denied, "", at), sallyport.Conflict)
	poll(22*time.Second, codes.Approved, true, 20*time.Second)
	poll(42*time.Second, codes.Approved, false, 20*time.Second)
	must(t, s.TakeDevice(t.Context(), d.Hash))
	wantKind(t, "taking it twice", s.TakeDevice(t.Context(), d.Hash), sallyport.Conflict)
	wantKind(t, "taking what is not there", s.TakeDevice(t.Context(), token.HashOf("none")), sallyport.Conflict)
	poll(62*time.Second, codes.Done, false, 20*time.Second)
}

func testTokenSweep(t *testing.T, open func() *sqldb.DB) {
	s, at := open().Token(), tokenTime()
	for _, id := range []string{"live", "unused", "over"} {
		f := tokenFamily(id)
		if id == "over" {
			f.Expires = at.Add(time.Second)
		}
		must(t, s.StartFamily(t.Context(), f))
		must(t, s.AddCode(t.Context(), codes.Code{Hash: token.HashOf("code " + id), Family: id, Client: "c", Expires: at.Add(time.Minute)}))
		if id != "unused" {
			must(t, s.AddRefresh(t.Context(), token.Refresh{Hash: token.HashOf("refresh " + id), Family: id, Created: at, Expires: at.Add(time.Second)}))
		}
	}
	must(t, s.Sweep(t.Context(), at.Add(30*time.Minute)))
	for id, want := range map[string]int{"live": 1, "unused": 0, "over": 0} {
		all, err := s.Families(t.Context(), token.Selector{Family: id})
		if len(all) != want || err != nil {
			t.Errorf("family %q after the sweep: %d, %v, want %d", id, len(all), err, want)
		}
		if _, _, err := s.FindRefresh(t.Context(), token.HashOf("refresh "+id)); (err == nil) != (id == "live") {
			t.Errorf("refresh token of %q after the sweep: %v; expired ones of live families stay", id, err)
		}
		_, err = s.TakeCode(t.Context(), token.HashOf("code "+id), "c", at)
		wantKind(t, "a swept code", err, sallyport.NotFound)
	}
}
