package login

import (
	"cmp"
	"encoding/hex"
	"errors"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/signin"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// The cookies, less their prefix.
const (
	ceremonyCookie = "sallyport-passkey" // handle of a passkey ceremony under way
	sessionCookie  = "sallyport"         // bearer value of the session
	flowCookie     = "sallyport-flow"    // handle of a sign-in under way
	linkCookie     = "sallyport-enrol"   // token of an enrolment link
	markCookie     = "sallyport-seen"    // random bits by which a browser is known again; they open nothing
)

// markLife is how long a browser is known again: Chromium keeps no cookie for longer.
const markLife = 400 * 24 * time.Hour

// name is how a cookie is called. The prefix makes browsers refuse one that another host or a plain connection sets.
func (d *Door) name(cookie string) string {
	if d.config.Plain {
		return cookie
	}
	return "__Host-" + cookie
}

// cookie reads a cookie. Two of one name are none: which is ours cannot be told.
func (d *Door) cookie(r *http.Request, cookie string) secret.Text {
	if all := r.CookiesNamed(d.name(cookie)); len(all) == 1 {
		return secret.NewText(all[0].Value)
	}
	return secret.Text{}
}

// set gives the browser a cookie for a while, 0 for as long as it runs; an empty value takes it away.
func (d *Door) set(w http.ResponseWriter, cookie string, value secret.Text, life time.Duration) {
	c := &http.Cookie{Name: d.name(cookie), Value: value.Reveal(), Path: "/", MaxAge: int(life / time.Second),
		HttpOnly: true, Secure: !d.config.Plain, SameSite: http.SameSiteLaxMode}
	if value.IsZero() {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// mark names the browser by the hash of its mark, "" for one that has not signed in here before.
func (d *Door) mark(r *http.Request) string {
	hash, ok := session.HashToken(d.cookie(r, markCookie))
	if !ok {
		return ""
	}
	return "browser:" + hex.EncodeToString(hash[:8])
}

// device is the enrolled device that a request came from, or else the browser's mark.
func (d *Door) device(r *http.Request) string {
	if d.config.Device != nil {
		if id := d.config.Device(r); id != "" {
			return id
		}
	}
	return d.mark(r)
}

// remember marks a browser that comes to sign in, once, so that the session of its first sign-in carries the mark too.
func (d *Door) remember(w http.ResponseWriter, r *http.Request) {
	if d.mark(r) != "" {
		return
	}
	if value, _, err := session.NewToken(d.config.SignIn.Random); err == nil { // without a mark it is only new again
		d.set(w, markCookie, value, markLife)
	}
}

// form reads the fields of a form, each exactly once. A field that is missing, or there twice, is refused.
func form(r *http.Request, names ...string) (map[string]string, error) {
	const op = "read form"
	if r.URL.RawQuery != "" {
		return nil, sallyport.E(op, sallyport.Invalid, "the address of a form holds no parameters", "")
	}
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "application/x-www-form-urlencoded" {
		return nil, sallyport.E(op, sallyport.Invalid, "the body is not a form", "send application/x-www-form-urlencoded")
	}
	if err := r.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, sallyport.E(op, sallyport.TooLarge, "the form is too large", "send at most 16 KiB")
		}
		return nil, sallyport.Wrap(op, sallyport.Invalid, "the body cannot be read as a form", err)
	}
	fields := map[string]string{}
	for _, name := range names {
		values := r.PostForm[name]
		if len(values) != 1 {
			return nil, sallyport.E(op, sallyport.Invalid, "the field "+name+" is not there exactly once", "send it once")
		}
		fields[name] = values[0]
	}
	return fields, nil
}

// seeOther sends the browser on by GET: 303, never 302 or 307, which may send a password along.
func seeOther(w http.ResponseWriter, r *http.Request, to string) {
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// localPath returns a path on this server with its query, or "" for anything else.
func localPath(s string) string {
	if len(s) > 4096 || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || !utf8.ValidString(s) {
		return ""
	}
	for _, c := range s {
		if c == '\\' || unicode.IsControl(c) || unicode.IsSpace(c) {
			return ""
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || strings.Contains(u.Path, "//") || strings.Contains(u.Path, "\\") {
		return ""
	}
	return s
}

// onward is where a finished ceremony leads.
func (d *Door) onward(back string) string {
	return cmp.Or(localPath(back), d.config.Home, "/account")
}

func withReturn(page, back string) string {
	if back = localPath(back); back == "" {
		return page
	}
	return page + "?return=" + url.QueryEscape(back)
}

// setStatus maps an error to a status and sets the headers that go with it.
func setStatus(w http.ResponseWriter, err error) int {
	status := httpsafe.Status(err)
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		wait := 5 * time.Second
		if one, ok := errors.AsType[*credential.Wait](err); ok {
			wait = one.For
		}
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	return status
}

// down tells that a proof could not be taken because something is down. The browser's handle then stays good, and its cookie.
func (d *Door) down(err error, step signin.Step) bool {
	return sallyport.KindOf(err) == sallyport.Unavailable && step.Flow.IsZero()
}

// sentence is an error for a page: its public text less the name of the operation, as sentences.
func sentence(err error) string {
	e, ok := errors.AsType[*sallyport.Error](err)
	if !ok || e.Kind == sallyport.Other || e.Message == "" {
		return capital(sallyport.PublicText(err)) + "."
	}
	text := capital(e.Message) + "."
	if e.Hint != "" {
		text += " " + capital(e.Hint) + "."
	}
	return text
}

func capital(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}

// source shortens a network address to the network that it is in: enough to recognise, not enough to follow somebody.
func source(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return ""
	}
	addr, bits := at.Addr().Unmap().WithZone(""), 24
	if addr.Is6() {
		bits = 48
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	return network.String()
}

// agent names a browser for its owner: "Firefox on Linux". The order matters: browsers claim to be others.
func agent(header string) string {
	find := func(among [][2]string, otherwise string) string {
		for _, a := range among {
			if strings.Contains(header, a[0]) {
				return a[1]
			}
		}
		return otherwise
	}
	browser := find([][2]string{{"Edg", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"Chrome/", "Chrome"},
		{"Chromium/", "Chrome"}, {"CriOS/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"}, {"Go-http-client", "Go program"}, {"python", "Python program"}}, "Unknown browser")
	system := find([][2]string{{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"},
		{"CrOS", "ChromeOS"}, {"Linux", "Linux"}}, "")
	if system == "" {
		return browser
	}
	return browser + " on " + system
}
