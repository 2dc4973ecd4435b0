package approvals

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/web/api"
)

// An offer is what a page says that it offered: a form, to a session, at a time, sealed. It gives no right: every form is
// decided on anew. It tells somebody whose right ended between the page and the form from somebody who sends a form that no
// page offered them.

// offerHeader carries an offer where a script sends JSON.
const offerHeader = "Sallyport-Offer"

// offerLasts is how long a page may have lain open.
const offerLasts = 24 * time.Hour

// A Visitor is who is signed in.
type Visitor struct {
	ID      sallyport.PrincipalID
	Session string
	Org     string // "" where they are in none
}

// A Bypass is a form that was refused by a decision, and that no page had offered to the session.
type Bypass struct {
	Visitor
	Path     string
	Decision string
}

// offer is the hidden field of a form that the page offers.
func (d *Door) offer(v visit, form string) string {
	text := v.who.Session + "\n" + form + "\n" + strconv.FormatInt(d.config.Now().Unix(), 10)
	return base64.RawURLEncoding.EncodeToString(d.config.Seal([]byte(text)))
}

// offered reports whether a page offered the form of this request to the session.
func (d *Door) offered(v visit) bool {
	text := v.r.Header.Get(offerHeader)
	if text == "" {
		text = v.r.PostForm.Get("offer")
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	plain, err := d.config.Open(sealed)
	if err != nil {
		return false
	}
	parts := strings.Split(string(plain), "\n")
	if len(parts) != 3 || parts[0] != v.who.Session || parts[1] != formOf(v.r) {
		return false
	}
	at, err := strconv.ParseInt(parts[2], 10, 64)
	age := d.config.Now().Sub(time.Unix(at, 0))
	return err == nil && age >= -time.Minute && age <= offerLasts
}

// formOf is the form that a request sends: a script's two requests are those of the form for a vote.
func formOf(r *http.Request) string {
	switch base := path.Base(r.URL.Path); base {
	case "statement", "sign":
		return path.Dir(r.URL.Path) + "/vote"
	}
	return r.URL.Path
}

// bypassed tells of a form that a decision refused and no page had offered. A refusal that asks for more proof, or that
// stands for a while, is none.
func (d *Door) bypassed(v visit, err error) {
	e, ok := errors.AsType[*refused](err)
	if !ok || v.r.Method != http.MethodPost || e.answer.Decision == "" || e.answer.Outcome != sallyport.Deny.String() || d.offered(v) {
		return
	}
	if err := d.config.Bypassed(v.r, Bypass{Visitor: v.who, Path: v.r.URL.Path, Decision: e.answer.Decision}); err != nil {
		d.config.Log.ErrorContext(v.r.Context(), "a form that was not offered could not be recorded", "decision", e.answer.Decision, "error", err)
	}
}

// may asks in one batch what the visitor may do; a step-up leads there.
func (d *Door) may(v visit, all ...api.CanAsk) ([]bool, error) {
	if len(all) == 0 {
		return nil, nil
	}
	var answers []api.Answer
	if err := d.call(v, question{method: http.MethodPost, path: "/can", in: all}, &answers); err != nil {
		return nil, err
	}
	if len(answers) != len(all) {
		return nil, sallyport.E("approvals", sallyport.Other, "the answer has another length than the question", "")
	}
	can := make([]bool, len(all))
	for i, a := range answers {
		can[i] = a.Outcome == sallyport.Allow.String() || a.Outcome == sallyport.StepUp.String()
	}
	return can, nil
}

// votes is the form for a vote on a request.
func votes(id string) string { return "/approvals/" + url.PathEscape(id) + "/vote" }
