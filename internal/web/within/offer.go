package within

import (
	"encoding/base64"
	"errors"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"sallyport"
)

// An offer is what a page says that it offered: a form, to a session, at a time, sealed. It gives no right: every form is
// decided on anew. It tells somebody whose right ended between the page and the form from somebody who sends a form that no
// page offered them.

// OfferHeader carries an offer where a script sends JSON.
const OfferHeader = "Sallyport-Offer"

// offerLasts is how long a page may have lain open.
const offerLasts = 24 * time.Hour

// A Bypass is a form that was refused by a decision, and that no page had offered to the session.
type Bypass struct {
	Visitor
	Path     string
	Decision string
}

// Offer is the hidden field of a form that the page offers.
func (d *Desk) Offer(v Visit, form string) string {
	text := v.Who.Session + "\n" + form + "\n" + strconv.FormatInt(d.config.Now().Unix(), 10)
	return base64.RawURLEncoding.EncodeToString(d.config.Seal([]byte(text)))
}

// offered reports whether a page offered the form of this request to the session.
func (d *Desk) offered(v Visit) bool {
	text := v.R.Header.Get(OfferHeader)
	if text == "" {
		text = v.R.PostForm.Get("offer")
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
	if len(parts) != 3 || parts[0] != v.Who.Session || parts[1] != formOf(v.R) {
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
func (d *Desk) bypassed(v Visit, err error) {
	e, ok := errors.AsType[*Refused](err)
	if !ok || v.R.Method != http.MethodPost || e.Answer.Decision == "" || e.Answer.Outcome != sallyport.Deny.String() || d.offered(v) {
		return
	}
	if err := d.config.Bypassed(v.R, Bypass{Visitor: v.Who, Path: v.R.URL.Path, Decision: e.Answer.Decision}); err != nil {
		d.config.Log.ErrorContext(v.R.Context(), "a form that was not offered could not be recorded", "decision", e.Answer.Decision, "error", err)
	}
}
