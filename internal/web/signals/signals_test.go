package signals_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/heed"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/secevent"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/signals"
	"sallyport/internal/identity/token"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/sqldb/sqldbtest"
	websignals "sallyport/internal/web/signals"
)

// A site is one installation: its guard, its rooms on a real store, its doors over
// HTTP.
type site struct {
	*guardtest.World
	t       *testing.T
	db      *sqldb.DB
	path    string // of db
	http    *httptest.Server
	streams *signals.Service
	heed    *heed.Service
	doors   *websignals.Doors
	events  []sallyport.Event
	raised  []string
	broken  atomic.Bool // the record fails
	config  websignals.Config
}

func newSite(t *testing.T) *site {
	s := &site{World: guardtest.New(t), t: t}
	var err error
	s.path = filepath.Join(t.TempDir(), "s.db")
	if s.db, err = sqldbtest.Open(t.Context(), s.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.db.Close() })
	mux := http.NewServeMux()
	s.http = httptest.NewServer(mux)
	t.Cleanup(s.http.Close)
	now, store := s.Clock.Now, s.db.Signals()
	same := func(b []byte, _ string) ([]byte, error) { return b, nil }
	note := func(_ context.Context, e sallyport.Event) error {
		if s.broken.Load() {
			return sallyport.E("record", sallyport.Unavailable, "the disk is full", "")
		}
		s.events = append(s.events, e)
		return nil
	}
	org := func(id sallyport.PrincipalID) string {
		m, _ := s.Facts.Snapshot().Member(id)
		return m.Org
	}
	s.streams = &signals.Service{Streams: store, Queue: store, Issuer: s.http.URL, Keys: &signals.Keys{Store: store, Seal: same, Open: same, Now: now},
		Owner: func(context.Context, string) sallyport.PrincipalID { return "user:ana" }, Org: org, Seal: same, Open: same, Note: note, Now: now, Random: rand.Reader}
	s.heed = &heed.Service{Directory: &directory.Service{Store: s.db.Directory(), Now: now},
		Sessions: &session.Service{Store: s.db.Session(), Limits: session.DefaultLimits(), Now: now, Random: rand.Reader},
		Tokens:   &token.Issuer{Families: s.db.Token(), Now: now, Rand: rand.Reader},
		Devices:  &device.Service{Store: s.db.Device(), Now: now, Note: note},
		Raise: func(_ context.Context, target string, points int, _ string, _ time.Duration) error {
			s.raised = append(s.raised, fmt.Sprint(target, " ", points))
			return nil
		},
		Enforce: func(context.Context) error { return nil }, Note: note, Self: s.http.URL}
	s.config = websignals.Config{Guard: s.Guard, Audience: s.http.URL + "/signals", External: s.http.URL, Streams: s.streams, Heed: s.heed, Org: org, Send: http.DefaultClient,
		Now: now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	mux.Handle("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner := http.NewServeMux()
		s.open().Register(inner)
		inner.ServeHTTP(w, r)
	}))
	return s
}

// open makes the doors when they are first used: partners are named until then.
func (s *site) open() *websignals.Doors {
	if s.doors == nil {
		var err error
		if s.doors, err = websignals.New(s.config); err != nil {
			s.t.Fatal(err)
		}
	}
	return s.doors
}

// do sends a request as rita, who may look at people.
func (s *site) do(method, path, body string, want int) map[string]any {
	s.t.Helper()
	return s.as("rita", method, path, body, want)
}

func (s *site) as(name, method, path, body string, want int) map[string]any {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.http.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if name != "" {
		r.Header.Set("Authorization", "Bearer "+guardtest.Token(name, sallyport.MultiFactor, s.http.URL+"/signals", "*"))
	}
	status, raw := s.send(r)
	var out map[string]any
	if status != want || len(raw) > 0 && raw[0] == '{' && json.Unmarshal(raw, &out) != nil {
		s.t.Fatalf("%s %s: %d %.300s, want %d", method, path, status, raw, want)
	}
	return out
}

func (s *site) send(r *http.Request) (int, []byte) {
	s.t.Helper()
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	raw, err := io.ReadAll(a.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return a.StatusCode, raw
}

// push sends a token to a receiver and returns the status and the error's code.
func (s *site) push(partner, text string, header ...string) (int, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.http.URL+"/signals/receive/"+partner, strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/secevent+jwt")
	r.Header.Set("Authorization", "Bearer agreed")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	status, raw := s.send(r)
	var e struct{ Err string }
	_ = json.Unmarshal(raw, &e) // an answer without a body says nothing
	return status, e.Err
}

// joins makes a member who is linked to an issuer, with a session.
func (s *site) joins(id sallyport.PrincipalID, issuer, subject string) secret.Text {
	s.t.Helper()
	m := directory.Member{ID: id, Org: "acme", Email: id.Name() + "@acme.example", Identities: []directory.Identity{{Issuer: issuer, Subject: subject}}}
	if _, err := s.heed.Directory.Create(s.t.Context(), m); err != nil {
		s.t.Fatal(err)
	}
	return s.signsIn(id)
}

func (s *site) signsIn(id sallyport.PrincipalID) secret.Text {
	s.t.Helper()
	b, _, err := s.heed.Sessions.Start(s.t.Context(), session.Proof{Principal: id, Person: id, Assurance: sallyport.MultiFactor, Methods: []string{"pwd"}})
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *site) live(b secret.Text) bool {
	s.t.Helper()
	_, err := s.heed.Sessions.Lookup(s.t.Context(), b)
	return err == nil
}

// happens lets the transmitter follow its trail.
func (s *site) happens(from uint64, events ...sallyport.Event) {
	s.t.Helper()
	var logged []sallyport.Logged
	for i, e := range events {
		e.At = s.Clock.Now().UnixMicro()
		logged = append(logged, sallyport.Logged{Seq: from + uint64(i), Event: e})
	}
	if err := s.streams.Handle(s.t.Context(), logged, from+uint64(len(events))); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) received() (done, refused int) {
	for _, e := range s.events {
		switch {
		case e.Type != sallyport.EventSignalReceived:
		case e.Outcome == "refused":
			refused++
		default:
			done++
		}
	}
	return done, refused
}

func left(name string) sallyport.Event {
	return sallyport.Event{Type: sallyport.EventLeft, Who: "user:rita", On: "user:" + name, Detail: map[string]string{"why": "last day"}}
}

const events = `"events_requested":["https://schemas.openid.net/secevent/caep/event-type/session-revoked","https://schemas.openid.net/secevent/caep/event-type/risk-level-change","https://example.com/ghost"]`

// pair is a transmitter and a receiver that trusts it.
func pair(t *testing.T) (a, b *site, stream string) {
	a, b = newSite(t), newSite(t)
	b.config.Partners = []websignals.Partner{{Partner: heed.Partner{Name: "a", Issuer: a.http.URL, Domains: []string{"acme.example"}}, Audience: b.http.URL,
		KeysURL: a.http.URL + "/signals/jwks.json", Algorithms: []jose.Algorithm{jose.RS256}, Authorization: secret.NewText("Bearer agreed")}}
	out := a.do("POST", "/signals/streams", `{"delivery":{"method":"urn:ietf:rfc:8935","endpoint_url":"`+b.http.URL+`/signals/receive/a","authorization_header":"Bearer agreed"},`+events+`}`, 201)
	stream = out["stream_id"].(string)
	s, err := a.streams.Get(t.Context(), "user:rita", stream)
	if err != nil {
		t.Fatal(err)
	}
	s.Audience = b.http.URL // as the two agreed
	if _, err := a.streams.Replace(t.Context(), s, secret.NewText("Bearer agreed")); err != nil {
		t.Fatal(err)
	}
	return a, b, stream
}

// The transmitter works against the receiver, over HTTP: what ends here ends there.
func TestPushEndsSessionsThere(t *testing.T) {
	t.Parallel()
	a, b, stream := pair(t)
	mine, others := b.joins("user:ana.b", a.http.URL, "user:ana"), b.joins("user:rob.b", a.http.URL, "user:rob")
	a.happens(1, left("ana"), sallyport.Event{Type: sallyport.EventRiskChanged, Who: "user:rob", Detail: map[string]string{"what": "raised", "points": "80", "why": "odd"}},
		sallyport.Event{Type: sallyport.EventSignedIn, Who: "user:rob", Asked: &sallyport.Asked{}}) // not asked for
	if err := a.open().PushAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.live(mine) || !b.live(others) {
		t.Errorf("ana's session lives: %v, rob's: %v", b.live(mine), b.live(others))
	}
	if len(b.raised) != 1 || b.raised[0] != "user:rob.b 60" {
		t.Errorf("raised: %q", b.raised)
	}
	if done, refused := b.received(); done != 2 || refused != 0 {
		t.Errorf("received %d, refused %d: %+v", done, refused, b.events)
	}
	sent := a.events[len(a.events)-1]
	if sent.Type != sallyport.EventSignalSent || sent.Detail["events"] != "2" || sent.On != "stream:"+stream {
		t.Errorf("sent: %+v", sent)
	}
	a.happens(1, left("ana")) // the trail again, after a crash
	if err := a.open().PushAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if done, _ := b.received(); done != 2 {
		t.Errorf("an event counted twice: %d", done)
	}
	a.do("POST", "/signals/verify", `{"stream_id":"`+stream+`","state":"abc"}`, 204)
	if err := a.open().PushAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := b.events[len(b.events)-1]; e.Detail["event"] != "verification" || e.Detail["action"] != "record" {
		t.Errorf("the verification: %+v", e)
	}
}

// A stream that is paused keeps everything and gives it in order; one whose
// receiver is away is tried later, and nobody behind overtakes.
func TestPausedAndAway(t *testing.T) {
	t.Parallel()
	a, b, stream := pair(t)
	a.do("POST", "/signals/status", `{"stream_id":"`+stream+`","status":"paused","reason":"upkeep"}`, 200)
	var many []sallyport.Event
	for range 60 {
		many = append(many, left("ana"))
	}
	a.happens(1, many...)
	if err := a.open().PushAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if done, _ := b.received(); done != 0 {
		t.Errorf("a paused stream gave %d", done)
	}
	if x := a.do("GET", "/signals/status?stream_id="+stream, "", 200); x["status"] != "paused" || x["reason"] != "upkeep" {
		t.Errorf("status %v", x)
	}
	a.do("POST", "/signals/status", `{"stream_id":"`+stream+`","status":"enabled"}`, 200)
	b.broken.Store(true) // away, for a while
	if err := a.open().PushAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.broken.Store(false)
	if err := a.open().PushAll(t.Context()); err != nil { // not due yet, and the others wait behind it
		t.Fatal(err)
	}
	if done, _ := b.received(); done != 0 {
		t.Errorf("%d came before the first", done)
	}
	a.Clock.Add(3 * time.Second)
	for range 2 {
		if err := a.open().PushAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	order := 0
	for _, e := range b.events {
		if e.Type == sallyport.EventSignalReceived {
			order++
			if want := fmt.Sprintf("%d.%s", order, stream); e.Detail["jti"] != want {
				t.Fatalf("event %d is %s", order, e.Detail["jti"])
			}
		}
	}
	if order != 60 {
		t.Errorf("%d came", order)
	}
	a.happens(200, left("ana"))
	a.do("POST", "/signals/status", `{"stream_id":"`+stream+`","status":"disabled","reason":"enough"}`, 200)
	a.happens(201, left("ana"))
	if _, n, err := a.streams.Queue.Waiting(t.Context(), stream, a.Clock.Now(), 1); err != nil || n != 0 {
		t.Errorf("%d wait for a disabled stream, %v", n, err)
	}
}

// Thousands of events are polled, each once, and what is acknowledged does not come
// again.
func TestPollThousands(t *testing.T) {
	t.Parallel()
	a := newSite(t)
	stream := a.do("POST", "/signals/streams", `{"delivery":{"method":"urn:ietf:rfc:8936"},`+events+`}`, 201)
	id := stream["stream_id"].(string)
	poll := strings.TrimPrefix(stream["delivery"].(map[string]any)["endpoint_url"].(string), a.http.URL)
	item := func(n int) signals.Item {
		return signals.Item{Stream: id, ID: fmt.Sprint(n), Text: "header." + fmt.Sprint(n) + ".signature", At: a.Clock.Now(), Due: a.Clock.Now()}
	}
	all := 500
	if os.Getenv("SALLYPORT_FULL") != "" { // budget: the long form, in CI
		all = 10_000
	}
	items := make([]signals.Item, all)
	for n := range items {
		items[n] = item(n)
	}
	if err := a.streams.Queue.Enqueue(t.Context(), items, 1); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	ack := []string{}
	for more, rounds := true, 0; more; rounds++ {
		body, err := json.Marshal(map[string]any{"maxEvents": 5000, "returnImmediately": true, "ack": ack})
		if err != nil || rounds > 2*all/1000 {
			t.Fatal(rounds, err)
		}
		out := a.do("POST", poll, string(body), 200)
		ack = ack[:0]
		for jti := range out["sets"].(map[string]any) {
			if seen[jti] {
				t.Fatalf("%s came twice", jti)
			}
			seen[jti] = true
			ack = append(ack, jti)
		}
		more = len(ack) > 0
		if (len(seen) < all) != out["moreAvailable"].(bool) {
			t.Errorf("after %d more is %v", len(seen), out["moreAvailable"])
		}
	}
	if len(seen) != all {
		t.Errorf("%d came", len(seen))
	}
	if out := a.do("POST", poll, `{"maxEvents":0,"ack":[]}`, 200); len(out["sets"].(map[string]any)) != 0 {
		t.Errorf("for nothing: %v", out)
	}
	go func() { // a long poll ends when something comes
		time.Sleep(100 * time.Millisecond)
		if err := a.streams.Queue.Enqueue(context.WithoutCancel(t.Context()), []signals.Item{item(all)}, 0); err != nil {
			t.Error(err)
		}
	}()
	if out := a.do("POST", poll, `{"maxEvents":10}`, 200); len(out["sets"].(map[string]any)) != 1 {
		t.Errorf("a long poll: %v", out)
	}
	if out := a.do("POST", poll, `{"returnImmediately":true,"setErrs":{"`+fmt.Sprint(all)+`":{"err":"invalid_request","description":"no"}}}`, 200); len(out["sets"].(map[string]any)) != 0 {
		t.Errorf("what was refused comes again: %v", out)
	}
}

// A receiver that polls, against our own poll door.
func TestPollingAPartner(t *testing.T) {
	t.Parallel()
	a, b := newSite(t), newSite(t)
	out := a.do("POST", "/signals/streams", `{`+events+`}`, 201)
	b.config.Partners = []websignals.Partner{{Partner: heed.Partner{Name: "a", Issuer: a.http.URL}, Audience: out["aud"].(string), KeysURL: a.http.URL + "/signals/jwks.json",
		PollURL: out["delivery"].(map[string]any)["endpoint_url"].(string), PollToken: secret.NewText(guardtest.Token("rita", sallyport.MultiFactor, a.http.URL+"/signals", "*")), PollEvery: time.Minute}}
	mine := b.joins("user:ana.b", a.http.URL, "user:ana")
	var many []sallyport.Event
	for range 40 {
		many = append(many, left("ana"))
	}
	a.happens(1, many...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.open().Run(ctx) }()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, n, err := a.streams.Queue.Waiting(t.Context(), out["stream_id"].(string), a.Clock.Now(), 1); err == nil && n == 0 {
			break
		}
	}
	cancel()
	<-done
	if n, refused := b.received(); n != 40 || refused != 0 || b.live(mine) {
		t.Errorf("received %d, refused %d, ana's session lives: %v", n, refused, b.live(mine))
	}
}

// A receiver that never answers and a partner whose events have no end keep nobody else waiting, and the latter is asked so
// often and no more.
func TestSlowOnesAreAlone(t *testing.T) {
	t.Parallel()
	a := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	asked, told := make(chan struct{}, 1000), make(chan struct{}, 1000)
	others := http.NewServeMux()
	others.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-ctx.Done():
		case <-r.Context().Done():
		}
	})
	others.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		fmt.Fprint(w, `{"sets":{},"moreAvailable":true}`)
	})
	others.HandleFunc("/good", func(w http.ResponseWriter, _ *http.Request) {
		told <- struct{}{}
		w.WriteHeader(http.StatusAccepted)
	})
	outside := httptest.NewServer(others)
	defer outside.Close()
	a.config.Partners = []websignals.Partner{{Partner: heed.Partner{Name: "endless", Issuer: outside.URL}, KeysURL: outside.URL + "/keys", PollURL: outside.URL + "/endless", PollEvery: time.Hour}}
	for _, path := range []string{"/slow", "/good"} {
		a.do("POST", "/signals/streams", `{"delivery":{"method":"urn:ietf:rfc:8935","endpoint_url":"`+outside.URL+path+`"},`+events+`}`, 201)
	}
	a.happens(1, left("ana"))
	done := make(chan struct{})
	go func() { defer close(done); a.open().Run(ctx) }()
	late := time.After(time.Minute)
	for name, heard := range map[string]chan struct{}{"the partner is not asked": asked, "the good receiver is not told": told} {
		select {
		case <-heard:
		case <-late:
			t.Error(name)
		}
	}
	for n := 1; n < 20; n++ {
		select {
		case <-asked:
		case <-late:
			t.Fatalf("asked %d times", n)
		}
	}
	cancel()
	<-done
	if n := len(asked); n > 0 {
		t.Errorf("asked %d times more", n)
	}
}

// What comes in is proved, recorded, and counts once.
func TestReceiverRefuses(t *testing.T) {
	t.Parallel()
	a, b, stream := pair(t)
	s, err := a.streams.Get(t.Context(), "user:rita", stream)
	if err != nil {
		t.Fatal(err)
	}
	mine := b.joins("user:ana.b", a.http.URL, "user:ana")
	sign := func(change func(*secevent.Token)) string {
		x := secevent.Token{Issuer: a.http.URL, Audience: []string{b.http.URL}, ID: rand.Text(), Issued: a.Clock.Now(),
			Event: secevent.Event{Type: secevent.SessionRevoked, Subject: secevent.IssSub(a.http.URL, "user:ana"), Admin: "why", Fields: map[string]string{}}}
		change(&x)
		text, err := a.streams.Keys.Sign(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	as := func(*secevent.Token) {}
	for name, x := range map[string]struct {
		text   string
		header []string
		code   string
	}{
		"another audience":  {sign(func(x *secevent.Token) { x.Audience = []string{s.ID} }), nil, "invalid_audience"},
		"another issuer":    {sign(func(x *secevent.Token) { x.Issuer = "https://evil.example" }), nil, "invalid_issuer"},
		"long ago":          {sign(func(x *secevent.Token) { x.Issued = a.Clock.Now().Add(-25 * time.Hour) }), nil, "invalid_request"},
		"tomorrow":          {sign(func(x *secevent.Token) { x.Issued = a.Clock.Now().Add(time.Hour) }), nil, "invalid_request"},
		"without agreement": {sign(as), []string{"Authorization", "Bearer other"}, "authentication_failed"},
		"another type":      {sign(as), []string{"Content-Type", "application/json"}, "invalid_request"},
		"no token":          {"x", nil, "authentication_failed"},
		"too long":          {strings.Repeat("x", 70<<10), nil, "invalid_request"},
		"a broken one":      {sign(as) + "x", nil, "authentication_failed"},
	} {
		if status, code := b.push("a", x.text, x.header...); status != 400 || code != x.code {
			t.Errorf("%s: %d %s, want %s", name, status, code, x.code)
		}
	}
	if status, _ := b.push("ghost", sign(as)); status != 404 {
		t.Errorf("an unknown partner: %d", status)
	}
	if done, refused := b.received(); done != 0 || refused != 9 || !b.live(mine) {
		t.Errorf("received %d, refused %d", done, refused)
	}

	text := sign(as)
	b.broken.Store(true) // nothing happens without a record, and it comes again
	if status, _ := b.push("a", text); status != 503 || !b.live(mine) {
		t.Errorf("without a record: %d", status)
	}
	b.broken.Store(false)
	for range 3 {
		if status, _ := b.push("a", text); status != 202 {
			t.Errorf("a good one: %d", status)
		}
	}
	if done, _ := b.received(); done != 1 || b.live(mine) {
		t.Errorf("received %d, ana's session lives: %v", done, b.live(mine))
	}
}

// What a partner may say is about its own people, ends at most sessions, and does
// what the policy says.
func TestWhatIsHeeded(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	p := heed.Partner{Name: "a", Issuer: "https://idp", Domains: []string{"acme.example"}, Policy: map[secevent.Type]heed.Action{secevent.CredentialChange: heed.Record}}
	b.joins("user:ana", "https://idp", "00ana")
	b.joins("user:bob", "https://other", "00bob")
	event := func(typ secevent.Type, about secevent.Subject, kv ...string) secevent.Token {
		e := secevent.Event{Type: typ, Subject: about, Fields: map[string]string{}}
		for i := 0; i < len(kv); i += 2 {
			e.Fields[kv[i]] = kv[i+1]
		}
		return secevent.Token{Issuer: "https://idp", ID: rand.Text(), Event: e}
	}
	email := func(a string) secevent.Subject {
		return secevent.Subject{Format: "email", Fields: map[string]string{"email": a}}
	}
	ana := secevent.IssSub("https://idp", "00ana")
	for name, x := range map[string]struct {
		token secevent.Token
		who   sallyport.PrincipalID
		ends  bool
	}{
		"by issuer and subject":   {event(secevent.SessionRevoked, ana), "user:ana", true},
		"by address":              {event(secevent.SessionRevoked, email("ANA@acme.example")), "user:ana", true},
		"in parts":                {event(secevent.SessionRevoked, secevent.Complex(map[string]secevent.Subject{"user": ana, "tenant": secevent.Opaque("x")})), "user:ana", true},
		"a session there was not": {event(secevent.SessionRevoked, secevent.Complex(map[string]secevent.Subject{"user": ana, "session": secevent.Opaque("theirs")})), "user:ana", true},
		"by another domain":       {event(secevent.SessionRevoked, email("ana@evil.example")), "", false},
		"another issuer's person": {event(secevent.SessionRevoked, secevent.IssSub("https://other", "00bob")), "", false},
		"named as we do":          {event(secevent.SessionRevoked, secevent.IssSub(b.http.URL, "user:ana")), "", false},
		"nobody":                  {event(secevent.SessionRevoked, secevent.IssSub("https://idp", "00nobody")), "", false},
		"less assurance":          {event(secevent.AssuranceLevelChange, ana, "change_direction", "decrease"), "user:ana", true},
		"more assurance":          {event(secevent.AssuranceLevelChange, ana, "change_direction", "increase"), "user:ana", false},
		"a credential, by policy": {event(secevent.CredentialChange, ana, "change_type", "update"), "user:ana", false},
		"a session begun":         {event(secevent.SessionEstablished, ana), "user:ana", false},
		"claims":                  {event(secevent.TokenClaimsChange, ana), "user:ana", false},
		"a device of nobody":      {event(secevent.DeviceComplianceChange, secevent.Complex(map[string]secevent.Subject{"user": ana, "device": secevent.Opaque("DV-X")}), "current_status", "not-compliant"), "user:ana", false},
		"risk":                    {event(secevent.RiskLevelChange, ana, "current_level", "MEDIUM"), "user:ana", false},
		"no risk":                 {event(secevent.RiskLevelChange, ana, "current_level", "LOW"), "user:ana", false},
	} {
		mine, others := b.signsIn("user:ana"), b.signsIn("user:bob")
		b.raised = nil
		before := len(b.events)
		did, err := b.heed.Heed(t.Context(), p, x.token)
		if err != nil || b.live(mine) == x.ends || !b.live(others) {
			t.Errorf("%s: %q, %v; ana's session lives: %v", name, did, err, b.live(mine))
		}
		if len(b.events) == before || b.events[before].Type != sallyport.EventSignalReceived || b.events[before].Who != x.who {
			t.Errorf("%s: recorded %+v", name, b.events[before:])
		}
		if (name == "risk") != (len(b.raised) == 1) {
			t.Errorf("%s: raised %q", name, b.raised)
		}
		if m, err := b.heed.Directory.Get(t.Context(), "user:ana"); err != nil || m.State != directory.Active {
			t.Errorf("%s: a partner locked somebody out: %+v, %v", name, m, err)
		}
	}
	p.Ours = true
	mine := b.signsIn("user:ana")
	if _, err := b.heed.Heed(t.Context(), p, event(secevent.SessionRevoked, secevent.IssSub(b.http.URL, "user:ana"))); err != nil || b.live(mine) {
		t.Errorf("named as we do, by one who may: %v", err)
	}
}

// Streams are their owner's, and what cannot be meant is refused.
func TestStreams(t *testing.T) {
	t.Parallel()
	a := newSite(t)
	c := a.as("", "GET", "/.well-known/ssf-configuration", "", 200)
	if c["spec_version"] != "1_0" || c["issuer"] != a.http.URL || !strings.HasPrefix(c["status_endpoint"].(string), a.http.URL) || len(c["delivery_methods_supported"].([]any)) != 2 {
		t.Errorf("configuration: %v", c)
	}
	keys, err := jose.ParseSet(fetch(t, a.http.URL+"/signals/jwks.json"))
	if err != nil || len(keys.Keys()) != 1 || keys.Keys()[0].Algorithm() != jose.RS256 {
		t.Errorf("keys: %v", err)
	}
	a.as("", "POST", "/signals/streams", `{`+events+`}`, 401)
	a.as("ana", "POST", "/signals/streams", `{`+events+`}`, 403)
	for _, wrong := range []string{``, `[]`, `{}`, `{"events_requested":["https://example.com/ghost"]}`, `{"delivery":{"method":"carrier pigeon"},` + events + `}`,
		`{"delivery":{"method":"urn:ietf:rfc:8935"},` + events + `}`, `{"delivery":{"method":"urn:ietf:rfc:8935","endpoint_url":"http://far.example/"},` + events + `}`,
		`{"delivery":{"method":"urn:ietf:rfc:8935","endpoint_url":"https://u:p@far.example/"},` + events + `}`, `{` + events + `,` + events + `}`} {
		a.do("POST", "/signals/streams", wrong, 400)
	}
	s := a.do("POST", "/signals/streams", `{"description":"mine",`+events+`}`, 201)
	id := s["stream_id"].(string)
	if len(s["events_delivered"].([]any)) != 2 || len(s["events_supported"].([]any)) != 8 || s["iss"] != a.http.URL || s["aud"] == "" {
		t.Errorf("stream: %v", s)
	}
	if s = a.do("PATCH", "/signals/streams", `{"stream_id":"`+id+`","description":"still mine"}`, 200); s["description"] != "still mine" || len(s["events_requested"].([]any)) != 3 {
		t.Errorf("after PATCH: %v", s)
	}
	a.do("PUT", "/signals/streams", `{"stream_id":"`+id+`"}`, 400) // it would be told nothing
	a.do("GET", "/signals/streams?stream_id="+id, "", 200)
	for _, path := range []string{"/signals/streams?stream_id=ghost", "/signals/status?stream_id=ghost"} {
		a.do("GET", path, "", 404)
	}
	subject := func(sub string) string {
		return `{"stream_id":"` + id + `","subject":{"format":"iss_sub","iss":"` + a.http.URL + `","sub":"` + sub + `"}}`
	}
	a.do("POST", "/signals/subjects/remove", subject("user:ana"), 204)
	a.happens(1, left("ana"), left("rob"))
	if _, n, err := a.streams.Queue.Waiting(t.Context(), id, a.Clock.Now(), 10); err != nil || n != 1 {
		t.Errorf("without ana %d wait, %v", n, err)
	}
	a.do("POST", "/signals/subjects/add", subject("user:ana"), 200)
	a.happens(3, left("ana"))
	if _, n, err := a.streams.Queue.Waiting(t.Context(), id, a.Clock.Now(), 10); err != nil || n != 2 {
		t.Errorf("with ana %d wait, %v", n, err)
	}
	a.do("POST", "/signals/subjects/add", `{"stream_id":"`+id+`","subject":{"format":"email","email":"x@y"}}`, 400)
	a.do("POST", "/signals/status", `{"stream_id":"`+id+`","status":"sleepy"}`, 400)
	if next, err := a.streams.Queue.Next(t.Context()); err != nil || next != 4 {
		t.Errorf("the place in the trail is %d, %v", next, err)
	}
	a.do("DELETE", "/signals/streams?stream_id="+id, "", 204)
	a.do("GET", "/signals/streams?stream_id="+id, "", 404)
	a.do("GET", "/signals/ghost", "", 404)
}

func fetch(t *testing.T, from string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, from, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(a.Body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Keys rotate, and what an old one signed verifies for as long as it may wait.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	a := newSite(t)
	first, err := a.streams.Keys.Document(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	count := func() int {
		doc, err := a.streams.Keys.Document(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		set, err := jose.ParseSet(doc)
		if err != nil {
			t.Fatal(err)
		}
		return len(set.Keys())
	}
	for _, x := range []struct {
		later time.Duration
		keys  int
	}{{0, 1}, {signals.KeyPeriod - time.Hour, 1}, {2 * time.Hour, 2}, {signals.KeepFor, 2}, {31 * 24 * time.Hour, 1}} {
		a.Clock.Add(x.later)
		if err := a.streams.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.Clock.Add(2 * time.Minute)
		if n := count(); n != x.keys {
			t.Errorf("after %v there are %d keys, want %d", x.later, n, x.keys)
		}
	}
	if last, _ := a.streams.Keys.Document(t.Context()); bytes.Equal(first, last) {
		t.Error("the key is still the first")
	}
}
