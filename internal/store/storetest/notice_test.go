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
	"sallyport/internal/watch/notify"
)

// A courier is a channel that remembers what it carried, or fails.
type courier struct {
	sent []string
	err  error
}

func (c *courier) Name() string { return "test" }

func (c *courier) Send(_ context.Context, n notify.Notice, address string) error {
	if c.err == nil {
		c.sent = append(c.sent, address+" "+n.Kind)
	}
	return c.err
}

type board struct {
	*notify.Service
	clock *turnedClock
	seq   uint64
}

func newBoard(t *testing.T, db *sqldb.DB, channels ...notify.Channel) *board {
	b := &board{clock: newTurnedClock()}
	b.Service = &notify.Service{Store: db.Notice(), Channels: channels, External: "https://sally.example", Clock: b.clock.Now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		About: notify.About{
			Restricted: func(on string) bool { return strings.HasPrefix(on, "acme/fraud") },
			Owners:     func(string) []sallyport.PrincipalID { return []sallyport.PrincipalID{"user:ana", "user:oto"} },
			Charged: func(on, duty string) []sallyport.PrincipalID {
				return map[string][]sallyport.PrincipalID{"acme/fraud@v1 monitor": {"user:rita", "user:ana", "service:bot"}, "acme/fraud@v1 responder": {"user:oto", "user:rita"}}[on+" "+duty]
			},
			Administrators: func(context.Context) ([]sallyport.PrincipalID, error) {
				return []sallyport.PrincipalID{"user:adam", "user:rita"}, nil
			},
			Address: func(_ context.Context, who sallyport.PrincipalID) (string, error) {
				return who.Name() + "@acme.example", nil
			},
		}}
	return b
}

func (b *board) hear(t *testing.T, e sallyport.Event) {
	t.Helper()
	b.seq++
	e.At = b.clock.Now().UnixMicro()
	must(t, b.Handle(t.Context(), []sallyport.Logged{{Seq: b.seq, Event: e}}, b.seq+1))
}

func (b *board) inbox(t *testing.T, who sallyport.PrincipalID) []notify.Notice {
	t.Helper()
	all, err := b.Inbox(t.Context(), who, true)
	must(t, err)
	return all
}

// TestTK6Notices: what a person is told of, whom it is told, and what nobody is told of.
// voted is a vote on a request of ana's, which leaves it in a state.
func voted(kind sallyport.EventType, state string) sallyport.Event {
	return sallyport.Event{Type: kind, Who: "user:rita", Detail: map[string]string{"request": "R-" + string(kind), "question": `{"person":"user:ana"}`, "state": state}}
}

func TestTK6Notices(t *testing.T) {
	pulled := sallyport.Event{Type: sallyport.EventDecided, Who: "user:ana", Action: sallyport.ModelPull, On: "acme/fraud@v1", Outcome: "allow"}
	other := pulled
	other.On = "acme/words@v1"
	refused := pulled
	refused.Outcome = "deny"
	type told struct {
		event sallyport.Event
		kind  string
		who   []sallyport.PrincipalID
	}
	var cases []told
	var names []string
	for name, test := range map[string]told{
		"a factor was changed":   {sallyport.Event{Type: sallyport.EventFactorChanged, Who: "user:ana", Detail: map[string]string{"what": "passkey added"}}, "factor.changed", []sallyport.PrincipalID{"user:ana"}},
		"a link was used":        {sallyport.Event{Type: sallyport.EventEnrolled, Who: "user:ana"}, "factor.enrolled", []sallyport.PrincipalID{"user:ana"}},
		"a passkey was cloned":   {sallyport.Event{Type: sallyport.EventCloned, Who: "user:ana"}, "factor.cloned", []sallyport.PrincipalID{"user:ana"}},
		"recovery began":         {sallyport.Event{Type: sallyport.EventRecovery, Who: "user:ana"}, "recovery", []sallyport.PrincipalID{"user:ana"}},
		"a device was enrolled":  {sallyport.Event{Type: sallyport.EventDeviceEnrolled, Who: "user:ana", On: "device:DV-1"}, "device.new", []sallyport.PrincipalID{"user:ana"}},
		"a device was removed":   {sallyport.Event{Type: sallyport.EventDeviceRemoved, Who: "user:ana", On: "device:DV-1"}, "device.removed", []sallyport.PrincipalID{"user:ana"}},
		"an identity was linked": {sallyport.Event{Type: sallyport.EventIdentityLinked, Who: "user:ana"}, "identity.linked", []sallyport.PrincipalID{"user:ana"}},
		"a new place": {sallyport.Event{Type: sallyport.EventSignedIn, Who: "user:ana", Detail: map[string]string{"because": `[{"kind":"new-country","points":20,"text":"x"}]`, "country": "AU"}},
			"signin.new", []sallyport.PrincipalID{"user:ana"}},
		"a new device": {sallyport.Event{Type: sallyport.EventSignedIn, Who: "user:ana", Detail: map[string]string{"because": `[{"kind":"new-device","points":20,"text":"x"}]`}},
			"signin.new", []sallyport.PrincipalID{"user:ana"}},
		"a usual sign-in":           {sallyport.Event{Type: sallyport.EventSignedIn, Who: "user:ana", Detail: map[string]string{"because": `[{"kind":"odd-hour","points":20}]`}}, "", nil},
		"a sign-in that was held":   {sallyport.Event{Type: sallyport.EventRiskChanged, Who: "user:ana", Detail: map[string]string{"what": "held"}}, "signin.held", []sallyport.PrincipalID{"user:ana"}},
		"risk that fades":           {sallyport.Event{Type: sallyport.EventRiskChanged, Who: "user:ana", Detail: map[string]string{"what": "raised"}}, "", nil},
		"restricted weights":        {pulled, "weights.pulled", []sallyport.PrincipalID{"user:ana"}},
		"other weights":             {other, "", nil},
		"weights that were not had": {refused, "", nil},
		"a model of theirs":         {sallyport.Event{Type: sallyport.EventDecided, Who: "user:oto", Action: sallyport.ModelPromote, On: "acme/fraud@v2", Outcome: "allow"}, "model.released", []sallyport.PrincipalID{"user:ana"}},
		"an auditor who looks":      {sallyport.Event{Type: sallyport.EventLooked, Who: "user:alba", On: "user:ana"}, "looked", []sallyport.PrincipalID{"user:ana"}},
		"looking at oneself":        {sallyport.Event{Type: sallyport.EventLooked, Who: "user:ana", On: "user:ana"}, "", nil},
		"a hold on them":            {sallyport.Event{Type: sallyport.EventHoldPlaced, Who: "user:rita", On: "user:ana"}, "hold", []sallyport.PrincipalID{"user:ana"}},
		"a hold on a model":         {sallyport.Event{Type: sallyport.EventHoldPlaced, Who: "user:rita", On: "model:acme/fraud"}, "", nil},
		"break-glass":               {sallyport.Event{Type: sallyport.EventBreakGlass, Who: "user:ana", Detail: map[string]string{"what": "opened", "name": "restore"}}, "breakglass", []sallyport.PrincipalID{"user:adam", "user:rita"}},
		"a report":                  {sallyport.Event{Type: sallyport.EventReported, Who: "user:ana", Detail: map[string]string{"what": "phish"}}, "reported", []sallyport.PrincipalID{"user:adam", "user:rita"}},
		"a finding about an asset": {sallyport.Event{Type: sallyport.EventFinding, Who: "user:ana", On: "user:ana", Detail: map[string]string{"on": "acme/fraud@v1", "rule": "denial-burst", "finding": "F-1"}},
			"finding", []sallyport.PrincipalID{"user:rita", "user:oto"}},
		"a finding about several": {sallyport.Event{Type: sallyport.EventFinding, Who: "user:eva", On: "user:eva", Detail: map[string]string{"on": "acme/fraud@v1 acme/decoy@v1", "rule": "denial-burst", "finding": "F-3"}},
			"finding", []sallyport.PrincipalID{"user:rita", "user:oto", "user:ana"}},
		"a vote that approves":       {voted(sallyport.EventGrantVoted, "approved"), "request.answered", []sallyport.PrincipalID{"user:ana"}},
		"a vote that denies":         {voted(sallyport.EventGrantVoted, "denied"), "request.answered", []sallyport.PrincipalID{"user:ana"}},
		"one of two votes":           {voted(sallyport.EventGrantVoted, "pending"), "", nil},
		"a vote that puts in force":  {voted(sallyport.EventPolicyVoted, "approved"), "request.answered", []sallyport.PrincipalID{"user:ana"}},
		"a request taken back":       {sallyport.Event{Type: sallyport.EventPolicyVoted, Who: "user:ana", Detail: map[string]string{"request": "R-9", "state": "withdrawn"}}, "", nil},
		"a finding about no asset":   {sallyport.Event{Type: sallyport.EventFinding, Who: "user:ana", On: "user:ana", Detail: map[string]string{"finding": "F-2"}}, "", nil},
		"what a program does itself": {sallyport.Event{Type: sallyport.EventFactorChanged, Who: "service:bot"}, "", nil},
	} {
		cases = append(cases, test)
		names = append(names, name)
	}
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		b := newBoard(t, open())
		for i, test := range cases {
			if !slices.Contains(notify.Types(), test.event.Type) {
				t.Errorf("%s: %s is not followed", names[i], test.event.Type)
			}
			b.hear(t, test.event)
			for _, who := range []sallyport.PrincipalID{"user:ana", "user:oto", "user:adam", "user:rita", "user:alba", "service:bot"} {
				got := b.inbox(t, who)
				if want := slices.Contains(test.who, who); want != (len(got) == 1) {
					t.Errorf("%s: %s was told %d times", names[i], who, len(got))
				} else if want && (got[0].Kind != test.kind || got[0].Text == "" || !strings.HasPrefix(got[0].Link, "https://sally.example/") || got[0].Seq != b.seq) {
					t.Errorf("%s: %s was told %+v", names[i], who, got[0])
				}
				_, err := b.MarkRead(t.Context(), who, b.clock.Now())
				must(t, err)
			}
		}
	})
}

// What is asked stands in the log before it is kept: those who may answer are told when it is, and nobody of what never was.
func TestNoticesOfWhatIsAsked(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		b := newBoard(t, open())
		kept := map[string]bool{}
		b.About.Approvers = func(_ context.Context, request string) ([]sallyport.PrincipalID, error) {
			if !kept[request] {
				return nil, sallyport.E("find request", sallyport.NotFound, request, "")
			}
			return []sallyport.PrincipalID{"user:rita"}, nil
		}
		asked := func(kind sallyport.EventType, id string) []sallyport.Logged {
			return []sallyport.Logged{{Seq: 1, Event: sallyport.Event{Type: kind, Who: "user:ana", At: b.clock.Now().UnixMicro(), Detail: map[string]string{"request": id, "why": "to see"}}}}
		}
		for i, kind := range []sallyport.EventType{sallyport.EventGrantRequested, sallyport.EventPolicyProposed} {
			id := fmt.Sprint("R-", i)
			first, never := asked(kind, id), asked(kind, "R-never")
			if err := b.Handle(t.Context(), first, 2); sallyport.KindOf(err) != sallyport.NotFound {
				t.Errorf("%s: what is not kept yet: %v", kind, err)
			}
			kept[id] = true
			must(t, b.Handle(t.Context(), first, 2))
			if got := b.inbox(t, "user:rita"); len(got) != i+1 || got[0].Kind != "request.new" || !strings.HasSuffix(got[0].Link, "/approvals/"+id) {
				t.Errorf("%s: rita was told %+v", kind, got)
			}
			b.clock.turn(time.Minute)
			must(t, b.Handle(t.Context(), never, 3))
		}
		if got := b.inbox(t, "user:rita"); len(got) != 2 {
			t.Errorf("rita was told %+v", got)
		}
	})
}

// Who asked is told of the answer also where it came before anybody was told of the request; and of both answers where the
// first was written down, could not be kept, and another was given.
func TestTheAskerIsToldOfEachAnswer(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		b := newBoard(t, open())
		b.About.Approvers = func(context.Context, string) ([]sallyport.PrincipalID, error) { return nil, nil } // it is answered
		asked := sallyport.Event{Type: sallyport.EventGrantRequested, Who: "user:ana", Detail: map[string]string{"request": "R-grant.voted"}}
		batch := []sallyport.Logged{{Seq: 1, Event: asked}, {Seq: 2, Event: voted(sallyport.EventGrantVoted, "approved")}}
		must(t, b.Handle(t.Context(), batch, 3))
		must(t, b.Handle(t.Context(), batch, 3))
		if got := b.inbox(t, "user:ana"); len(got) != 1 || got[0].Kind != "request.answered" || got[0].Seq != 2 {
			t.Errorf("ana was told %+v", got)
		}
		must(t, b.Handle(t.Context(), []sallyport.Logged{{Seq: 3, Event: voted(sallyport.EventGrantVoted, "denied")}}, 4))
		if got := b.inbox(t, "user:ana"); len(got) != 2 {
			t.Errorf("ana was told %+v", got)
		}
	})
}

// A burst of findings about one asset, in one batch, is told whole to each who answers for it, and each finding once, also
// when the trail is read again.
func TestABurstOfFindingsIsToldToEach(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		b := newBoard(t, open())
		var burst []sallyport.Logged
		for i := range 5 {
			burst = append(burst, sallyport.Logged{Seq: uint64(i + 1), Event: sallyport.Event{Type: sallyport.EventFinding, Who: "user:eva", On: "user:eva",
				Detail: map[string]string{"on": "acme/fraud@v1", "rule": "denial-burst", "text": "x.", "finding": fmt.Sprintf("F-%d", i)}}})
		}
		for range 2 {
			must(t, b.Handle(t.Context(), burst, 6))
		}
		for _, who := range []sallyport.PrincipalID{"user:ana", "user:rita", "user:oto"} {
			got := b.inbox(t, who)
			for i := range 5 {
				if n := slices.IndexFunc(got, func(n notify.Notice) bool { return strings.Contains(n.Text, fmt.Sprintf("F-%d'", i)) }); n < 0 {
					t.Errorf("%s was not told of finding %d", who, i)
				}
			}
			if len(got) != 5 {
				t.Errorf("%s was told %d times", who, len(got))
			}
		}
	})
}

// A download is many requests and one notice an hour; the trail read again tells nobody twice; what was read is not new.
func TestNoticesOnce(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		b := newBoard(t, open())
		pulled := sallyport.Event{Type: sallyport.EventDecided, Who: "user:ana", Action: sallyport.ModelPull, On: "acme/fraud@v1", Outcome: "allow"}
		for range 50 {
			b.hear(t, pulled)
		}
		if got := b.inbox(t, "user:ana"); len(got) != 1 {
			t.Errorf("%d notices of one download", len(got))
		}
		b.clock.turn(time.Hour)
		b.hear(t, pulled)
		changed := sallyport.Logged{Seq: 99, Event: sallyport.Event{Type: sallyport.EventFactorChanged, Who: "user:ana", At: b.clock.Now().UnixMicro()}}
		for range 2 {
			must(t, b.Handle(t.Context(), []sallyport.Logged{changed}, 100))
		}
		got := b.inbox(t, "user:ana")
		if len(got) != 3 || got[0].At.Before(got[2].At) {
			t.Errorf("%d notices", len(got))
		}
		if n, err := b.MarkRead(t.Context(), "user:ana", got[1].At); err != nil || n != 3 && n != 2 {
			t.Errorf("marked %d, %v", n, err)
		}
		if n, err := b.MarkRead(t.Context(), "user:bo", b.clock.Now()); err != nil || n != 0 {
			t.Errorf("somebody else marked %d, %v", n, err)
		}
		if left := b.inbox(t, "user:ana"); len(left) != 0 {
			t.Errorf("%d are still new", len(left))
		}
		if all, err := b.Inbox(t.Context(), "user:ana", false); err != nil || len(all) != 3 {
			t.Errorf("%d in all, %v", len(all), err)
		}
		b.clock.turn(notify.KeptFor + time.Hour)
		must(t, b.Tend(t.Context()))
		if all, err := b.Inbox(t.Context(), "user:ana", false); err != nil || len(all) != 0 {
			t.Errorf("%d are kept, %v", len(all), err)
		}
	})
}

// Nothing secret is in a notice, whatever stands in an event, and no line break either.
func TestNoticesHoldNoSecret(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		b := newBoard(t, open())
		for _, kind := range notify.Types() {
			detail := map[string]string{"what": "x\r\nBcc: everybody@example.net", "name": strings.Repeat("n", 2000), "about": "hunter2", "jti": "hunter2", "code": "hunter2", "token": "hunter2", "why": "hunter2"}
			b.hear(t, sallyport.Event{Type: kind, Who: "user:ana", On: "user:oto", Detail: detail})
		}
		for _, who := range []sallyport.PrincipalID{"user:ana", "user:oto", "user:adam"} {
			for _, n := range b.inbox(t, who) {
				if strings.ContainsAny(n.Text, "\r\n\x1b") || strings.Contains(n.Text, "hunter2") || len(n.Text) > 500 {
					t.Errorf("%s is told %q", who, n.Text)
				}
			}
		}
	})
}

// A channel that fails is tried again, ever less often, and at last it is given up; a notice goes out once.
func TestDeliveries(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		c := &courier{err: errors.New("down")}
		db := open()
		b := newBoard(t, db, c)
		must(t, b.Tell(t.Context(), "user:ana", "finding.token-reused", "somebody has a copy", "F-1"))
		must(t, b.Tell(t.Context(), "user:ana", "finding.token-reused", "somebody has a copy", "F-1"))
		must(t, b.Deliver(t.Context()))
		due := func() []notify.Delivery {
			all, err := db.Notice().Due(t.Context(), b.clock.Now(), 10)
			must(t, err)
			return all
		}
		if len(due()) != 0 {
			t.Error("it is due again at once")
		}
		b.clock.turn(30 * time.Second)
		if all := due(); len(all) != 1 || all[0].Tries != 1 {
			t.Errorf("due %+v", all)
		}
		c.err = nil
		must(t, b.Deliver(t.Context()))
		must(t, b.Deliver(t.Context()))
		if want := []string{"ana@acme.example finding.token-reused"}; !slices.Equal(c.sent, want) {
			t.Errorf("sent %q, want %q", c.sent, want)
		}
		c.err = errors.New("down for good")
		must(t, b.Tell(t.Context(), "user:bo", "x", "x", "x"))
		tries := 0
		for range 200 {
			if len(due()) > 0 {
				tries++
			}
			must(t, b.Deliver(t.Context()))
			b.clock.turn(time.Hour)
		}
		if tries != 10 || len(due()) != 0 {
			t.Errorf("tried %d times, %d are due", tries, len(due()))
		}
		if n, err := b.Alert(t.Context(), "alert", "look", "1"); err != nil || n != 2 {
			t.Errorf("alerted %d, %v", n, err)
		}
		c.err = notify.ErrNowhere
		must(t, b.Deliver(t.Context()))
		b.clock.turn(48 * time.Hour)
		if len(due()) != 0 {
			t.Error("what has no address is tried again")
		}
	})
}

// Two channels have a delivery each.
func TestDeliveriesByChannel(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		s := db.Notice()
		at := newTurnedClock().Now()
		must(t, s.Put(t.Context(), []notify.Notice{{ID: "N-1", Who: "user:ana", At: at, Kind: "k", Text: "t", Link: "l"}}, []string{"a", "b"}, 7))
		if n, err := s.Next(t.Context()); err != nil || n != 7 {
			t.Errorf("Next = %d, %v", n, err)
		}
		all, err := s.Due(t.Context(), at, 10)
		must(t, err)
		if len(all) != 2 {
			t.Fatalf("%d deliveries", len(all))
		}
		all[0].Done = at
		must(t, s.Tried(t.Context(), all[0]))
		left, err := s.Due(t.Context(), at, 10)
		if err != nil || len(left) != 1 || left[0].Channel != all[1].Channel {
			t.Errorf("left %+v, %v", left, err)
		}
		wantKind(t, "a delivery of nothing", s.Tried(t.Context(), notify.Delivery{Notice: notify.Notice{ID: "N-9"}, Channel: "a"}), sallyport.NotFound)
	})
}
