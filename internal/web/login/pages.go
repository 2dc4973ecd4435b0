package login

import (
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/signin"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/api"
	"sallyport/internal/web/page"
)

// entry is what the forms with a user name or a way back show.
type entry struct {
	Name, Display, Return, Error string
	Again                        bool     // somebody who is signed in is asked once more
	Others                       []choice // other people's identity providers
	Off                          string   // why there are no passkeys here
	Needs                        string   // level of a step-up
	Ways                         signin.Ways
}

func (d *Door) showLogin(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	back := localPath(q.Get("return"))
	if q.Get("again") != "1" {
		if _, err := d.Session(r); err == nil {
			seeOther(w, r, d.onward(back))
			return nil
		} else if sallyport.KindOf(err) != sallyport.Unknown {
			return err
		}
	}
	d.remember(w, r)
	d.show(w, r, http.StatusOK, "login", page.View{Data: entry{Name: clip(sallyport.OneLine(q.Get("name"))), Return: back, Again: q.Get("again") == "1"}})
	return nil
}

func (d *Door) takePassword(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "username", "password", "return")
	if err != nil {
		return err
	}
	back := localPath(f["return"])
	step, err := d.config.SignIn.Password(r.Context(), d.client(r), f["username"], secret.NewText(f["password"]), back)
	if err != nil {
		return d.again(w, r, err, "login", page.View{Data: entry{Name: clip(f["username"]), Return: back, Error: sentence(err)}})
	}
	d.advance(w, r, step)
	return nil
}

func (d *Door) showCode(w http.ResponseWriter, r *http.Request) error {
	ways, err := d.config.SignIn.Ways(r.Context(), d.cookie(r, flowCookie))
	if err != nil {
		return err
	}
	d.show(w, r, http.StatusOK, "code", d.withScript(page.View{Data: entry{Ways: ways, Off: d.passkeysOff()}}))
	return nil
}

func (d *Door) takeCode(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "code")
	if err != nil {
		return err
	}
	step, err := d.config.SignIn.Code(r.Context(), d.client(r), d.cookie(r, flowCookie), f["code"])
	if err == nil {
		d.advance(w, r, step)
		return nil
	}
	if d.down(err, step) {
		return err
	}
	d.set(w, flowCookie, step.Flow, flowLife)
	if step.Flow.IsZero() {
		return d.again(w, r, err, "login", page.View{Data: entry{Error: sentence(err)}})
	}
	ways, shown := d.config.SignIn.Ways(r.Context(), step.Flow)
	if shown != nil {
		return shown
	}
	return d.again(w, r, err, "code", d.withScript(page.View{Data: entry{Ways: ways, Error: sentence(err)}}))
}

// openLink moves the token of a link from the address into a cookie. It does not use the link up: scanners of mail open
// links too.
func (d *Door) openLink(w http.ResponseWriter, r *http.Request) error {
	token := secret.NewText(r.PathValue("token"))
	if _, err := d.config.SignIn.Invited(r.Context(), token); err != nil {
		return d.badLink(w, r, err)
	}
	d.set(w, linkCookie, token, linkLife)
	seeOther(w, r, "/enrol")
	return nil
}

func (d *Door) badLink(w http.ResponseWriter, r *http.Request, err error) error {
	return d.again(w, r, err, "message", page.View{Data: message{Title: "This link does not work", Text: sentence(err), Bad: true}})
}

func (d *Door) showEnrol(w http.ResponseWriter, r *http.Request) error {
	m, err := d.config.SignIn.Invited(r.Context(), d.cookie(r, linkCookie))
	if err != nil {
		return d.badLink(w, r, err)
	}
	d.remember(w, r)
	d.show(w, r, http.StatusOK, "enrol", page.View{Data: invitation(m.ID.Name(), m.Display, "")})
	return nil
}

func invitation(name, display, problem string) entry {
	if display == "" {
		display = name
	}
	return entry{Name: name, Display: display, Error: problem}
}

func (d *Door) takeChosen(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "password", "again")
	if err != nil {
		return err
	}
	link := d.cookie(r, linkCookie)
	m, err := d.config.SignIn.Invited(r.Context(), link)
	if err != nil {
		return d.badLink(w, r, err)
	}
	if f["password"] != f["again"] {
		err = sallyport.E("enrol", sallyport.Invalid, "the two passwords are not the same", "type them again")
	}
	var step signin.Step
	if err == nil {
		step, err = d.config.SignIn.Enrol(r.Context(), d.client(r), link, secret.NewText(f["password"]))
	}
	if err != nil {
		return d.again(w, r, err, "enrol", page.View{Data: invitation(m.ID.Name(), m.Display, sentence(err))})
	}
	d.set(w, linkCookie, secret.Text{}, 0)
	d.advance(w, r, step)
	return nil
}

// generator is what the page with the QR code shows.
type generator struct {
	QR            code
	Secret, Error string
	URI           template.URL
}

func (d *Door) showGenerator(w http.ResponseWriter, r *http.Request) error {
	v, err := d.generator(r, d.cookie(r, flowCookie), "")
	if err != nil {
		return err
	}
	d.show(w, r, http.StatusOK, "generator", v)
	return nil
}

func (d *Door) generator(r *http.Request, flow secret.Text, problem string) (page.View, error) {
	g, err := d.config.SignIn.Generator(r.Context(), flow)
	if err != nil {
		return page.View{}, err
	}
	qr, err := encodeQR(g.URI.Reveal())
	if err != nil {
		return page.View{}, err
	}
	return page.View{Data: generator{QR: qr, Secret: inFours(g.Secret.Reveal()), URI: template.URL(g.URI.Reveal()), Error: problem}}, nil
}

func (d *Door) takeFirstCode(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "code")
	if err != nil {
		return err
	}
	step, err := d.config.SignIn.Confirm(r.Context(), d.client(r), d.cookie(r, flowCookie), f["code"])
	if err == nil {
		d.advance(w, r, step)
		return nil
	}
	if d.down(err, step) {
		return err
	}
	d.set(w, flowCookie, step.Flow, flowLife)
	if step.Flow.IsZero() {
		return d.badLink(w, r, err)
	}
	v, shown := d.generator(r, step.Flow, sentence(err))
	if shown != nil {
		return shown
	}
	return d.again(w, r, err, "generator", v)
}

func (d *Door) showStepUp(w http.ResponseWriter, r *http.Request) error {
	back, level := localPath(r.URL.Query().Get("return")), needs(r)
	one, ok := d.RequireSession(w, r, stepUpPage(level, back))
	if !ok {
		return nil
	}
	v, err := d.stepUp(r, one, level, back)
	if err != nil {
		return err
	}
	d.show(w, r, http.StatusOK, "stepup", v)
	return nil
}

// stepUp is the page for a fresh proof. A code is offered where it would do: not for a level that only a passkey proves, and
// not where a passkey has proved the session.
func (d *Door) stepUp(r *http.Request, one session.Session, level sallyport.Assurance, back string) (page.View, error) {
	ways, err := d.config.SignIn.WaysOf(r.Context(), one.Principal)
	if max(one.Assurance, level) > sallyport.MultiFactor || !slices.Contains(one.Methods, "pwd") && !slices.Contains(one.Methods, "fed") {
		ways.Code = false
	}
	name := one.Principal.Name()
	return d.withScript(page.View{Who: name, Data: entry{Name: name, Return: back, Needs: level.String(), Ways: ways, Off: d.passkeysOff(), Others: d.origin(one, back)}}), err
}

func (d *Door) takeStepUp(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "code", "return")
	if err != nil {
		return err
	}
	back, level := localPath(f["return"]), needs(r)
	one, ok := d.RequireSession(w, r, stepUpPage(level, back))
	if !ok {
		return nil
	}
	step, err := d.config.SignIn.StepUp(r.Context(), d.client(r), f["code"])
	if err != nil {
		v, shown := d.stepUp(r, one, level, back)
		if shown != nil {
			return shown
		}
		e := v.Data.(entry)
		e.Error = sentence(err)
		v.Data = e
		return d.again(w, r, err, "stepup", v)
	}
	step.Return = back
	d.advance(w, r, step)
	return nil
}

func (d *Door) showLogout(w http.ResponseWriter, r *http.Request) error {
	one, err := d.Session(r)
	switch {
	case err == nil:
		d.show(w, r, http.StatusOK, "logout", page.View{Who: one.Principal.Name()})
		return nil
	case sallyport.KindOf(err) != sallyport.Unknown:
		return err
	}
	d.show(w, r, http.StatusOK, "message", page.View{Data: message{Title: "You are signed out", Text: "This browser has no session.", Link: "/login", LinkText: "Sign in"}})
	return nil
}

func (d *Door) logout(w http.ResponseWriter, r *http.Request) error {
	if _, err := form(r); err != nil {
		return err
	}
	if err := d.SignOut(w, r); err != nil {
		return err
	}
	seeOther(w, r, "/logout")
	return nil
}

// account is what the account page shows.
type account struct {
	Name, Display, Org, Methods, Assurance string
	Groups                                 []string
	Sessions                               []shownSession
	Notices                                []shownNotice
	proofs
}

type shownSession struct {
	ID, Agent, Source, Since, SinceText, Seen, SeenText string
	Here                                                bool
}

func (d *Door) account(w http.ResponseWriter, r *http.Request) error {
	one, m, err := d.config.SignIn.Session(r.Context(), d.bearer(r))
	if err != nil {
		return err
	}
	all, err := d.config.SignIn.Sessions.List(r.Context(), one.Principal)
	if err != nil {
		return err
	}
	a := account{Name: m.ID.Name(), Display: m.Display, Org: m.Org, Groups: m.Groups, Methods: api.Methods(one.Methods), Assurance: one.Assurance.String()}
	if a.Display == "" {
		a.Display = a.Name
	}
	if a.proofs, err = d.proofs(r, one.Principal); err != nil {
		return err
	}
	if a.Notices, err = d.told(r.Context(), one.Principal); err != nil {
		return err
	}
	for _, s := range all {
		a.Sessions = append(a.Sessions, d.shown(s, s.ID == one.ID))
	}
	d.prompt(w, one)
	d.show(w, r, http.StatusOK, "account", d.withScript(page.View{Who: a.Name, Wide: true, Data: a}))
	return nil
}

func (d *Door) shown(s session.Session, here bool) shownSession {
	name := s.Agent
	if name == "" {
		name = "Unknown browser"
	}
	return shownSession{ID: s.ID, Agent: name, Source: s.Source, Here: here, Since: s.Created.Format(time.RFC3339), SinceText: s.Created.Format("2 January, 15:04 UTC"),
		Seen: s.Seen.Format(time.RFC3339), SeenText: ago(d.config.Now().Sub(s.Seen))}
}

func (d *Door) revoke(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "id")
	if err != nil {
		return err
	}
	if err := d.config.SignIn.Revoke(r.Context(), d.client(r), f["id"], "ended on the account page"); err != nil {
		return err
	}
	seeOther(w, r, "/account")
	return nil
}

func (d *Door) revokeAll(w http.ResponseWriter, r *http.Request) error {
	if _, err := form(r); err != nil {
		return err
	}
	if err := d.config.SignIn.RevokeAll(r.Context(), d.client(r), "signed out everywhere"); err != nil {
		return err
	}
	d.forget(w)
	seeOther(w, r, "/logout")
	return nil
}

// advance hands out what a proof has earned and sends the browser on.
func (d *Door) advance(w http.ResponseWriter, r *http.Request, step signin.Step) {
	switch step.Next {
	case signin.NeedsCode:
		d.set(w, flowCookie, step.Flow, flowLife)
		seeOther(w, r, "/login/code")
	case signin.Confirming:
		d.set(w, flowCookie, step.Flow, flowLife)
		seeOther(w, r, "/enrol/code")
	case signin.Renewing:
		d.set(w, flowCookie, step.Flow, flowLife)
		seeOther(w, r, renewPage)
	default:
		d.set(w, flowCookie, secret.Text{}, 0)
		d.set(w, sessionCookie, step.Bearer, 0)
		seeOther(w, r, d.onward(step.Return))
	}
}

// again shows a page with what was wrong. What is not the reader's business is left to the one place for errors.
func (d *Door) again(w http.ResponseWriter, r *http.Request, err error, name string, v page.View) error {
	switch sallyport.KindOf(err) {
	case sallyport.Other, sallyport.Unavailable:
		return err
	}
	d.show(w, r, setStatus(w, err), name, v)
	return nil
}

func (d *Door) forget(w http.ResponseWriter) {
	for _, c := range []string{sessionCookie, flowCookie, linkCookie, ceremonyCookie} {
		d.set(w, c, secret.Text{}, 0)
	}
}

// ago is a duration for people: in minutes, for that is how exactly a use is noted.
func ago(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d minutes ago", d/time.Minute)
	}
	return fmt.Sprintf("%d h ago", d/time.Hour)
}

func clip(s string) string { return s[:min(len(s), 63)] }

// inFours writes a key the way people can type it.
func inFours(key string) string {
	var b strings.Builder
	for i, c := range key {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}
