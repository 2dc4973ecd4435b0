package login

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"sallyport"
	"sallyport/internal/identity/passkey"
	"sallyport/internal/identity/recovery"
	"sallyport/internal/identity/signin"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/page"
)

// ownRoutes are the pages on which people look after their own account, and get back into it.
func (d *Door) ownRoutes() map[string]handler {
	return map[string]handler{
		"POST /account/passkeys/rename": d.renamePasskey, "POST /account/passkeys/remove": d.removePasskey,
		"POST /account/codes":   d.newCodes,
		"GET /account/password": d.showPassword, "POST /account/password": d.changePassword,
		"POST /account/recovery/cancel": d.cancelRecovery,
		"GET /account/session":          d.sessionJSON,
		"GET /login/recovery":           d.showRecoveryCode, "POST /login/recovery": d.takeRecoveryCode,
		"GET /recover": d.showRecover, "POST /recover": d.askRecovery,
	}
}

// shownPasskey is one passkey on the account page.
type shownPasskey struct {
	ID, Label, Model, Class, Added, Used, Locked string
}

// shownRequest is a way back that somebody asked for.
type shownRequest struct {
	ID, Asked, By, State string
}

// proofs are a person's authenticators, as the account page shows them.
type proofs struct {
	Passkeys []shownPasskey
	Off      string // why there are no passkeys here
	Codes    int    // recovery codes left
	Requests []shownRequest
}

func (d *Door) proofs(r *http.Request, id sallyport.PrincipalID) (proofs, error) {
	in, p := d.config.SignIn, proofs{Off: d.passkeysOff()}
	keys, err := in.Passkeys.List(r.Context(), id)
	if err != nil {
		return p, err
	}
	for _, k := range keys {
		p.Passkeys = append(p.Passkeys, d.shownPasskey(k))
	}
	if p.Codes, err = in.Recovery.CodesLeft(r.Context(), id); err != nil {
		return p, err
	}
	open, err := in.Recovery.Requests(r.Context(), id)
	for _, q := range open {
		p.Requests = append(p.Requests, shownRequest{ID: q.ID, Asked: day(q.Asked), By: q.Asker.Name(), State: requestState(q)})
	}
	return p, err
}

func requestState(q recovery.Request) string {
	if q.State == recovery.Approved {
		return "approved by two people; it takes effect from " + q.Ready.Format("2 January, 15:04 UTC")
	}
	return strconv.Itoa(len(q.Votes)) + " of " + strconv.Itoa(recovery.Approvals) + " approvals"
}

func (d *Door) shownPasskey(k passkey.Passkey) shownPasskey {
	s := shownPasskey{ID: k.ID, Label: k.Label, Model: k.Model, Added: day(k.Created)}
	if s.Class = "synced"; d.config.SignIn.Passkeys.Class(k) == passkey.Hardware {
		s.Class = "hardware"
	}
	if !k.Used.IsZero() {
		s.Used = ago(d.config.Now().Sub(k.Used))
	}
	if !k.Locked.IsZero() {
		s.Locked = k.Why
	}
	return s
}

func day(t time.Time) string { return t.Format("2 January 2006") }

func (d *Door) renamePasskey(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "id", "label")
	if err != nil {
		return err
	}
	if err := d.config.SignIn.RenamePasskey(r.Context(), d.client(r), f["id"], f["label"]); err != nil {
		return err
	}
	seeOther(w, r, "/account")
	return nil
}

func (d *Door) removePasskey(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "id")
	if err != nil {
		return err
	}
	step, err := d.config.SignIn.RemovePasskey(r.Context(), d.client(r), f["id"])
	if err != nil {
		return err
	}
	d.set(w, sessionCookie, step.Bearer, 0)
	seeOther(w, r, "/account")
	return nil
}

// newCodes shows fresh recovery codes, this once.
func (d *Door) newCodes(w http.ResponseWriter, r *http.Request) error {
	if _, err := form(r); err != nil {
		return err
	}
	codes, step, err := d.config.SignIn.NewRecoveryCodes(r.Context(), d.client(r))
	if err != nil {
		return err
	}
	d.set(w, sessionCookie, step.Bearer, 0)
	shown := struct{ Codes []string }{}
	for _, c := range codes {
		shown.Codes = append(shown.Codes, c.Reveal())
	}
	d.show(w, r, http.StatusOK, "codes", page.View{Who: step.Session.Principal.Name(), Data: shown})
	return nil
}

func (d *Door) showPassword(w http.ResponseWriter, r *http.Request) error {
	one, m, err := d.config.SignIn.Owner(r.Context(), d.client(r))
	if err != nil {
		return err
	}
	d.show(w, r, http.StatusOK, "password", page.View{Who: one.Principal.Name(), Data: entry{Name: m.ID.Name()}})
	return nil
}

func (d *Door) changePassword(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "old", "password", "again")
	if err != nil {
		return err
	}
	one, m, err := d.config.SignIn.Owner(r.Context(), d.client(r))
	if err != nil {
		return err
	}
	if f["password"] != f["again"] {
		err = sallyport.E("change password", sallyport.Invalid, "the two new passwords are not the same", "type them again")
	}
	var step signin.Step
	if err == nil {
		step, err = d.config.SignIn.ChangePassword(r.Context(), d.client(r), secret.NewText(f["old"]), secret.NewText(f["password"]))
	}
	if err != nil {
		return d.again(w, r, err, "password", page.View{Who: one.Principal.Name(), Data: entry{Name: m.ID.Name(), Error: sentence(err)}})
	}
	d.set(w, sessionCookie, step.Bearer, 0)
	seeOther(w, r, "/account")
	return nil
}

func (d *Door) cancelRecovery(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "id")
	if err != nil {
		return err
	}
	if err := d.config.SignIn.CancelRecovery(r.Context(), d.client(r), f["id"]); err != nil {
		return err
	}
	seeOther(w, r, "/account")
	return nil
}

// sessionJSON tells programs how long the browser's session lasts.
func (d *Door) sessionJSON(w http.ResponseWriter, r *http.Request) error {
	one, err := d.Session(r)
	if err != nil {
		return err
	}
	now := d.config.Now()
	writeJSON(w, http.StatusOK, struct {
		ID        string `json:"id"`
		Assurance string `json:"assurance"`
		EndsIn    int64  `json:"ends_in"`     // seconds, unless it is used
		LastsTo   int64  `json:"lasts_until"` // seconds since 1970, in any case
	}{one.ID, one.Assurance.String(), int64(one.Ends().Sub(now).Seconds()), one.End.Unix()})
	return nil
}

func (d *Door) showRecoveryCode(w http.ResponseWriter, r *http.Request) error {
	if err := d.config.SignIn.Waiting(r.Context(), d.cookie(r, flowCookie), signin.NeedsCode); err != nil {
		return err
	}
	d.show(w, r, http.StatusOK, "recoverycode", page.View{Data: entry{}})
	return nil
}

func (d *Door) takeRecoveryCode(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "code")
	if err != nil {
		return err
	}
	step, err := d.config.SignIn.RecoveryCode(r.Context(), d.client(r), d.cookie(r, flowCookie), secret.NewText(f["code"]))
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
	return d.again(w, r, err, "recoverycode", page.View{Data: entry{Error: sentence(err)}})
}

func (d *Door) showRecover(w http.ResponseWriter, r *http.Request) error {
	d.show(w, r, http.StatusOK, "recover", page.View{Data: entry{}})
	return nil
}

// askRecovery answers alike whether there is such a person or not.
func (d *Door) askRecovery(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "username", "why")
	if err != nil {
		return err
	}
	if err := d.config.SignIn.AskRecovery(r.Context(), d.client(r), f["username"], f["why"]); err != nil {
		return d.again(w, r, err, "recover", page.View{Data: entry{Name: clip(f["username"]), Error: sentence(err)}})
	}
	d.show(w, r, http.StatusOK, "message", page.View{Data: message{Title: "It is noted", Link: "/login", LinkText: "Back to the sign-in",
		Text: "If there is such an account, two people who know you must now approve, and then a delay runs. Tell two colleagues who look after accounts; one of them hands you a link."}})
	return nil
}

// stepUpPage is the page that asks for a fresh proof of a level.
func stepUpPage(level sallyport.Assurance, back string) string {
	page := "/stepup?needs=" + level.String()
	if back = localPath(back); back != "" {
		page += "&return=" + url.QueryEscape(back)
	}
	return page
}

// needs reads the level that a step-up is for; what cannot be read asks for a second factor.
func needs(r *http.Request) sallyport.Assurance {
	level, err := sallyport.ParseAssurance(r.FormValue("needs"))
	if err != nil || level < sallyport.MultiFactor {
		return sallyport.MultiFactor
	}
	return level
}

// stale answers an error that a fresh proof would lift, and reports whether it did.
func (d *Door) stale(w http.ResponseWriter, r *http.Request, err error) bool {
	needed, ok := errors.AsType[*signin.StepUpNeeded](err)
	if ok {
		back := "/account"
		if r.Method == http.MethodGet {
			back = r.URL.RequestURI()
		}
		seeOther(w, r, stepUpPage(needed.Level, back))
	}
	return ok
}
