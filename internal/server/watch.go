package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/breakglass"
	"sallyport/internal/authz/hold"
	"sallyport/internal/authz/role"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/habit"
	"sallyport/internal/identity/token"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/plumbing/tail"
	"sallyport/internal/watch/detect"
	"sallyport/internal/watch/notify"
	"sallyport/internal/watch/respond"
	"sallyport/internal/web/admin"
	"sallyport/internal/web/login"
)

// A NotifyConfig says how notices leave the house. Without it they are in the inbox only.
type NotifyConfig struct {
	Webhook WebhookConfig `yaml:"webhook"`
	Mail    MailConfig    `yaml:"mail"`
}

// A WebhookConfig is one address that gets every notice.
type WebhookConfig struct {
	URL     string `yaml:"url"`
	KeyFile string `yaml:"key_file"` // holds the key that messages are signed with, 32 bytes or more
	Private bool   `yaml:"private"`  // the address may be one of the house's own network
}

// A MailConfig is the mail server that notices are sent through.
type MailConfig struct {
	Server       string `yaml:"server"`   // HOST:PORT
	Security     string `yaml:"security"` // starttls, tls, or none on loopback
	From         string `yaml:"from"`
	User         string `yaml:"user"`
	PasswordFile string `yaml:"password_file"`
	CAFile       string `yaml:"ca_file"` // "" trusts what the machine trusts
}

// watch follows the trail.
type watch struct {
	detector *detect.Detector
	finder   *tail.Follower
	answers  *respond.Service
	notices  *notify.Service
	teller   *tail.Follower
}

// system is who acts when nobody does.
func system() hold.Actor {
	return hold.Actor{ID: "service:sallyport", Person: "service:sallyport"}
}

// openWatch opens what follows the trail: tripwires, what is done about them, notices; and the last way in.
func (s *Server) openWatch(ctx context.Context) error {
	w, r := &s.watch, &s.rooms
	channels, err := s.channels()
	if err != nil {
		return err
	}
	w.notices = &notify.Service{Store: s.db.Notice(), Channels: channels, External: s.config.External, Clock: s.clock, Logger: s.logger,
		About: notify.About{Restricted: s.restricted, Owners: s.ownersOf, Charged: s.charged, Administrators: s.administrators, Approvers: s.mayAnswer, Address: r.emails}}
	w.teller = &tail.Follower{Name: "notices", Source: s.tailed, Types: notify.Types(), Next: w.notices.Store.Next, Handle: w.notices.Handle,
		Skipped: s.skipped("notices"), Logger: s.logger}
	table, err := respond.NewTable(s.config.Respond)
	if err != nil {
		return err
	}
	r.breakglass = &breakglass.Service{Store: s.db.BreakGlass(), Approvals: r.approvals, Within: r.within, Assign: s.assignFor, Unassign: s.unassign,
		Note: s.noteOnly, Clock: s.steady.Now, Rand: rand.Reader}
	w.answers = &respond.Service{Findings: s.db.Finding(), Table: table, Means: s.means(), Protected: r.breakglass.Holds, Clock: s.clock, Logger: s.logger}
	w.detector = &detect.Detector{Store: s.db.Finding(), Note: s.noteOnly, Network: s.network, Clock: s.clock, Changed: w.answers.Wake}
	w.finder = &tail.Follower{Name: "tripwires", Source: s.tailed, Types: detect.Types(), Next: w.detector.Next, Handle: w.detector.Handle,
		Skipped: s.skipped("tripwires"), Logger: s.logger}
	return r.breakglass.Recover(ctx)
}

// skipped records that a follower of the trail passed an entry over, which it must not do in silence.
func (s *Server) skipped(follower string) func(context.Context, uint64, error) error {
	return func(ctx context.Context, seq uint64, cause error) error {
		return s.noteOnly(ctx, sallyport.Event{Type: sallyport.EventAlarm, Reasons: []string{"log.skipped"},
			Detail: map[string]string{"follower": follower, "seq": fmt.Sprint(seq), "why": sallyport.OneLine(cause.Error())}})
	}
}

// keepWatch follows the trail, answers, tells and ends holds, until ctx ends.
func (s *Server) keepWatch(ctx context.Context) {
	var running sync.WaitGroup
	for _, work := range []func(context.Context){s.habits.Run, s.watch.finder.Run, s.counter.Run, s.watch.teller.Run, s.watch.answers.Run, s.watch.notices.Run, s.endHolds,
		func(ctx context.Context) { s.places.Follow(ctx, placesEvery) }} {
		running.Go(func() { work(ctx) })
	}
	running.Wait()
}

// tendWatch does what is due each minute.
func (s *Server) tendWatch(ctx context.Context) error {
	return errors.Join(s.rooms.habits.Fade(ctx), s.rooms.habits.Tend(ctx), s.watch.notices.Tend(ctx))
}

// channels are the ways out of the house that the configuration names.
func (s *Server) channels() ([]notify.Channel, error) {
	var all []notify.Channel
	if c := s.config.Notify.Webhook; c != (WebhookConfig{}) {
		key, err := readSecret(c.KeyFile)
		if err != nil {
			return nil, err
		}
		allow := func(ap netip.AddrPort) bool { return c.Private || httpsafe.Global(ap.Addr()) }
		hook, err := notify.NewWebhook(c.URL, secret.NewBytes([]byte(key.Reveal())), httpsafe.Client(allow, 2), s.clock)
		if err != nil {
			return nil, err
		}
		all = append(all, hook)
	}
	if c := s.config.Notify.Mail; c != (MailConfig{}) {
		password, err := readSecret(c.PasswordFile)
		if err != nil {
			return nil, err
		}
		mailer := &notify.Mailer{Server: c.Server, Security: c.Security, From: c.From, User: c.User, Password: password, Clock: s.clock}
		if c.CAFile != "" {
			if mailer.Roots, err = mailRoots(c.CAFile); err != nil {
				return nil, err
			}
		}
		if err := mailer.Check(); err != nil {
			return nil, err
		}
		all = append(all, mailer)
	}
	return all, nil
}

// mailRoots trusts the certificates of a file and no other.
func mailRoots(file string) (*tls.Config, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, sallyport.Wrap("open mail", sallyport.Invalid, fmt.Sprintf("the file %s cannot be read", file), err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, sallyport.E("open mail", sallyport.Invalid, fmt.Sprintf("the file %s holds no certificate", file), "write it in PEM")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// means carry out what is done about findings.
func (s *Server) means() respond.Means {
	r := &s.rooms
	return respond.Means{
		Notify: func(ctx context.Context, f detect.Finding) (string, error) {
			if owner := s.facts.Snapshot().Behind(f.Who); owner != f.Who { // a service reads no notices
				text := fmt.Sprintf("%s is about %s, which you answer for: %s", f.ID, f.Who, f.Text)
				return "told " + string(owner), s.watch.notices.Tell(ctx, owner, "finding."+f.Rule, text, f.ID)
			}
			text := f.Text + " If this was not you, run 'sallyport report wasnt-me' at once."
			return "told " + string(f.Who), s.watch.notices.Tell(ctx, f.Who, "finding."+f.Rule, text, f.ID)
		},
		Alert: func(ctx context.Context, f detect.Finding, why string) (string, error) {
			e := sallyport.Event{Type: sallyport.EventAlarm, Who: f.Who, On: f.Subject, Reasons: []string{f.Rule}, Detail: map[string]string{"finding": f.ID, "why": why}}
			if err := s.noteOnly(ctx, e); err != nil {
				return "", err
			}
			about := f.Subject
			if f.Who != "" {
				about = string(f.Who)
			}
			n, err := s.watch.notices.Alert(ctx, "alert."+f.Rule, fmt.Sprintf("%s It is about %s: sallyport findings show %s", why, about, f.ID), f.ID+why)
			return fmt.Sprintf("told %d who run the system", n), err
		},
		Raise: func(ctx context.Context, target string, step respond.Step, why string) (string, error) {
			if done, err := r.habits.Raises.RaisesAt(ctx, s.clock(), []string{target}, habit.MaxRaises); err != nil {
				return "", err
			} else if i := slices.IndexFunc(done, func(k habit.Raise) bool { return k.Why == why }); i >= 0 {
				return done[i].ID + " on " + target, nil // before a crash: why names the finding
			}
			raise, err := r.habits.Raise(ctx, target, habit.Measure{Points: step.Points, Fade: step.For, Settles: step.Settles}, why)
			return raise.ID + " on " + target, err
		},
		Hold: s.holdFor,
		End:  s.endFound,
		Clear: func(ctx context.Context, id string, by sallyport.PrincipalID) error {
			_, err := r.habits.Clear(ctx, id, by)
			return err
		},
		Lift: func(ctx context.Context, id, why string, by sallyport.Principal) error {
			_, err := r.holds.Lift(ctx, id, hold.Lifting{Why: why, Without: "what was found was nothing"}, hold.Actor{ID: by.ID, Person: by.Person}, s.noteLifted)
			return err
		},
	}
}

// holdFor holds something for a while, in force when it returns.
func (s *Server) holdFor(ctx context.Context, target, why string, lasts time.Duration) (string, error) {
	before, err := s.rooms.holds.List(ctx, target)
	if err != nil {
		return "", err
	}
	var h hold.Hold
	ordered := s.clock()
	if i := slices.IndexFunc(before, func(h hold.Hold) bool { return h.Why == why && h.By == system().ID }); i >= 0 {
		h = before[i] // before a crash: why names the finding; whether it was recorded is not known
	} else {
		h, err = s.rooms.holds.PlaceFor(ctx, target, why, system(), lasts)
	}
	if sallyport.KindOf(err) == sallyport.NotFound {
		return "it is gone already", nil
	}
	if err != nil {
		return "", err
	}
	detail := map[string]string{"hold": h.ID, "why": why, "until": h.Until.Format(time.RFC3339), sallyport.Ordered: strconv.FormatInt(ordered.UnixMicro(), 10)}
	if err := s.noteOnly(ctx, sallyport.Event{Type: sallyport.EventHoldPlaced, Who: system().ID, On: target, Detail: detail}); err != nil {
		return "", err
	}
	return h.ID + " on " + target + " until " + h.Until.Format(time.RFC3339), s.facts.Sync(ctx)
}

// endFound ends what a finding is about: a session with its logins, one login, or all sessions that began on a device.
func (s *Server) endFound(ctx context.Context, f detect.Finding) (string, error) {
	kind, id, _ := strings.Cut(f.Subject, ":")
	ids := []string{id}
	switch kind {
	case "session", "family":
	case "device":
		list, err := s.rooms.onDevice(ctx, id)
		if err != nil {
			return "", err
		}
		ids = nil
		for _, one := range list {
			ids = append(ids, one.ID)
		}
	default:
		return "nothing that could be ended is known", nil
	}
	for _, one := range ids {
		if err := s.endOne(ctx, one, f.Rule+" ("+f.ID+")", system().ID); err != nil {
			return "", err
		}
	}
	return "ended " + strings.Join(ids, " "), s.facts.Sync(ctx)
}

// endOne ends a session and the logins that it approved, or one login.
func (s *Server) endOne(ctx context.Context, id, why string, by sallyport.PrincipalID) error {
	if err := s.noteOnly(ctx, sallyport.Event{Type: sallyport.EventSessionRevoked, Who: by, On: "session:" + id, Detail: map[string]string{"why": why}}); err != nil {
		return err
	}
	if !strings.HasPrefix(id, "S-") {
		_, err := s.rooms.tokens.Revoke(ctx, token.Selector{Family: id}, why)
		return err
	}
	if err := s.rooms.sessions.Revoke(ctx, id, why); err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return err
	}
	_, err := s.rooms.tokens.RevokeBySession(ctx, id, why)
	return err
}

// endHolds lifts holds whose time is over, each second.
func (s *Server) endHolds(ctx context.Context) {
	every(ctx, time.Second, func() {
		_, err := s.rooms.holds.Expire(ctx, system(), s.noteLifted)
		if err != nil && ctx.Err() == nil {
			s.logger.WarnContext(ctx, "holds whose time is over could not be lifted", "err", err)
		}
	})
}

// noteLifted records that a hold is about to be lifted.
func (s *Server) noteLifted(ctx context.Context, h hold.Hold) error {
	return s.noteOnly(ctx, sallyport.Event{Type: sallyport.EventHoldLifted, Who: h.LiftedBy, On: h.Target, Detail: map[string]string{"hold": h.ID, "why": h.LiftReason}})
}

// network names the network of an address: its operator where that is known, else its prefix; "" of one that is shared.
func (s *Server) network(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip // a door that keeps only the prefix
	}
	p := s.placed(addr)
	switch {
	case p.Shared:
		return ""
	case p.ASN != "":
		return p.ASN
	}
	return p.Prefix
}

// resolved is what a name of the log stands for now.
func (s *Server) resolved(on string) (sallyport.Resource, bool) {
	ref, err := sallyport.ParseRef(on)
	if err != nil {
		return sallyport.Resource{}, false
	}
	return s.facts.Snapshot().Resolve(ref)
}

func (s *Server) restricted(on string) bool {
	x, ok := s.resolved(on)
	return !ok || x.Class == sallyport.Restricted // what is gone counts as it would unclassified
}

func (s *Server) ownersOf(on string) []sallyport.PrincipalID {
	x, ok := s.resolved(on)
	if !ok {
		return nil
	}
	return s.facts.Snapshot().Catalog().Owners(x)
}

// charged are those who have a duty about what a name stands for.
func (s *Server) charged(on, duty string) []sallyport.PrincipalID {
	x, ok := s.resolved(on)
	if !ok {
		return nil
	}
	return s.facts.Snapshot().Charged(x, catalog.Duty(duty), s.clock())
}

// administrators are the active people who run the system or look after it.
func (s *Server) administrators(context.Context) ([]sallyport.PrincipalID, error) {
	snap := s.facts.Snapshot()
	var all []sallyport.PrincipalID
	for _, m := range snap.Sorted() {
		if m.State != directory.Active || m.ID.Kind() != sallyport.User {
			continue
		}
		if slices.ContainsFunc(snap.Assignments(m.ID), func(a role.Assignment) bool {
			return a.Scope.Kind == sallyport.SystemKind && (a.Role == Administrator || a.Role == "security-reviewer")
		}) {
			all = append(all, m.ID)
		}
	}
	return all, nil
}

// within reports whether somebody is one of the subjects.
func (r *rooms) within(ctx context.Context, who sallyport.PrincipalID, subjects []string) (bool, error) {
	for _, subject := range subjects {
		people, err := r.people(ctx, subject)
		if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
			return false, err
		}
		if slices.Contains(people, who) {
			return true, nil
		}
	}
	return false, nil
}

// assignFor gives the role of an emergency right, in force when it returns.
func (s *Server) assignFor(ctx context.Context, who sallyport.PrincipalID, d breakglass.Definition, until time.Time) (string, error) {
	a, err := s.rooms.roles.AssignEmergency(ctx, role.Assignment{Subject: string(who), Role: d.Role, Scope: d.Scope, By: d.By, Until: until})
	if err != nil {
		return "", err
	}
	return a.ID, s.facts.Sync(ctx)
}

func (s *Server) unassign(ctx context.Context, id string) error {
	if err := s.rooms.roles.Unassign(ctx, id); err != nil {
		return err
	}
	return s.facts.Sync(ctx)
}

// pageNotices are what the account page shows.
func (s *Server) pageNotices() login.Notices {
	return login.Notices{
		List: func(ctx context.Context, who sallyport.PrincipalID) ([]login.Notice, error) {
			all, err := s.watch.notices.Inbox(ctx, who, false)
			out := make([]login.Notice, len(all))
			for i, n := range all {
				out[i] = login.Notice{At: n.At, Text: n.Text, New: n.Read.IsZero()}
			}
			return out, err
		},
		Read: func(ctx context.Context, who sallyport.PrincipalID, upTo time.Time) error {
			_, err := s.watch.notices.MarkRead(ctx, who, upTo)
			return err
		},
	}
}

// adminWatch is what the management API shows and does of all this.
func (s *Server) adminWatch() admin.Watch {
	r := &s.rooms
	return admin.Watch{Habits: r.habits, Detector: s.watch.detector, Answers: s.watch.answers, Notices: s.watch.notices, BreakGlass: r.breakglass,
		Relearn: func(ctx context.Context) error { return s.habits.Rebuild(ctx, r.habits.Rebuild) },
		EndOne:  s.endOne,
		LoseDevice: func(ctx context.Context, id string, by sallyport.PrincipalID, why string) error {
			_, err := r.devices.Remove(ctx, id, by, why)
			return err
		},
		Devices: func(ctx context.Context, owner sallyport.PrincipalID) ([]device.Device, error) {
			return r.devices.List(ctx, owner)
		},
	}
}
