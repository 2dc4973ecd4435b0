package login

import (
	"errors"
	"net/http"
	"net/url"

	"sallyport"
	"sallyport/internal/identity/federation"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/signin"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/page"
)

// awayCookie holds the handle of a journey to an identity provider.
const awayCookie = "sallyport-away"

// maxAnswer bounds what a provider has the browser post: a SAML response in base64.
const maxAnswer = 512 << 10

// federatedRoutes adds sign-in by other people's identity providers:
//
//	GET  /login/with/IDP           the form of a directory, or a button; again=1 asks for a fresh proof. POST: the same
//	GET  /login/oidc/IDP/callback  the answer of an OpenID Connect provider; POST: the same answer as a form
//	POST /saml/IDP/acs             the answer of a SAML provider, from another site
//	GET  /login/with/IDP/finish    where it leads
//	GET  /login/with/IDP/code      a code of ours on top. POST: code
//	GET  /saml/IDP/metadata        what the provider must know of us
//	POST /logout/backchannel/IDP   a logout token
//
// What comes from another site reads no cookie and starts no session: see outside.
func (d *Door) federatedRoutes(mux *http.ServeMux) {
	for pattern, serve := range map[string]handler{
		"GET /login/with/{idp}": d.showProvider, "POST /login/with/{idp}": d.leave,
		"GET /login/oidc/{idp}/callback": d.callback, "GET /login/with/{idp}/finish": d.finish,
		"GET /login/with/{idp}/code": d.showProviderCode, "POST /login/with/{idp}/code": d.takeProviderCode,
		"GET /saml/{idp}/metadata": d.metadata,
	} {
		mux.Handle(pattern, d.protect(d.spoken(serve)))
	}
	for pattern, serve := range map[string]handler{
		"POST /login/oidc/{idp}/callback": d.postedCallback, "POST /saml/{idp}/acs": d.acs, "POST /logout/backchannel/{idp}": d.backchannel,
	} {
		mux.Handle(pattern, d.outside(d.spoken(serve)))
	}
}

// outside is protect for the three routes that other sites post to. The check of the origin is left out, so the handler may
// not act on a cookie, and does not see one.
func (d *Door) outside(serve handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page.Headers(w, r)
		r.Header.Del("Cookie")
		r.Body = http.MaxBytesReader(w, r.Body, maxAnswer)
		if err := serve(w, r); err != nil {
			d.fail(w, r, err)
		}
	})
}

// spoken shows why a federated sign-in came to nothing: unlike a missing session this is something to read about.
func (d *Door) spoken(serve handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := serve(w, r)
		if err == nil {
			return nil
		}
		kind := sallyport.KindOf(err)
		d.config.Log.WarnContext(r.Context(), "sign-in by an identity provider", "path", r.URL.Path, "error", err)
		title := "You were not signed in"
		if kind == sallyport.Unavailable {
			title = "Not at this moment"
		}
		d.show(w, r, setStatus(w, err), "message", page.View{Data: message{Title: title, Text: sentence(err), Bad: true, Link: "/login", LinkText: "Back to signing in"}})
		return nil
	}
}

// A choice is a button to a provider.
type choice struct {
	Name, Title, Return string
	Again, Password     bool
	Error, User         string
}

func (d *Door) choices(back string, again bool) []choice {
	if d.config.SignIn.Federation == nil {
		return nil
	}
	var all []choice
	for _, p := range d.config.SignIn.Federation.Providers {
		all = append(all, choice{Name: p.Name, Title: p.Title, Return: back, Again: again, Password: p.Kind == federation.LDAP})
	}
	return all
}

// origin is the provider by which a session began: it can be asked for a fresh proof.
func (d *Door) origin(one session.Session, back string) []choice {
	if one.Upstream.IdP == "" {
		return nil
	}
	all := d.choices(back, true)
	for i := range all {
		if p := d.config.SignIn.Federation.Providers[i]; p.Issuer == one.Upstream.IdP && p.Upstream != nil {
			return all[i : i+1]
		}
	}
	return nil
}

func (d *Door) choice(r *http.Request, back string) (choice, error) {
	p, err := d.config.SignIn.Federation.Provider(r.PathValue("idp"))
	return choice{Name: p.Name, Title: p.Title, Return: back, Password: p.Kind == federation.LDAP}, err
}

func (d *Door) showProvider(w http.ResponseWriter, r *http.Request) error {
	c, err := d.choice(r, localPath(r.URL.Query().Get("return")))
	if err != nil {
		return err
	}
	c.Again = r.URL.Query().Get("again") == "1"
	d.show(w, r, http.StatusOK, "provider", page.View{Data: c})
	return nil
}

func (d *Door) leave(w http.ResponseWriter, r *http.Request) error {
	c, err := d.choice(r, "")
	if err != nil {
		return err
	}
	if c.Password {
		return d.bind(w, r, c)
	}
	f, err := form(r, "return", "again")
	if err != nil {
		return err
	}
	to, err := d.config.SignIn.Federation.Begin(r.Context(), c.Name, f["again"] == "1", localPath(f["return"]))
	if err != nil {
		return err
	}
	d.set(w, awayCookie, to.Handle, flowLife)
	d.onwardTo(w, r, to.URL, "To "+c.Title)
	return nil
}

// onwardTo sends the browser on by a page of ours, not by a redirect: browsers hold redirects behind a form to the policy for
// forms, however many hops a provider makes, and leave cookies out on the way back from another site.
func (d *Door) onwardTo(w http.ResponseWriter, r *http.Request, to, title string) {
	w.Header().Set("Refresh", "0; url="+to)
	d.show(w, r, http.StatusOK, "message", page.View{Data: message{Title: title, Text: "You are sent on. If nothing happens, follow the link.", Link: to, LinkText: "Continue"}})
}

// bind takes name and password of a directory's account.
func (d *Door) bind(w http.ResponseWriter, r *http.Request, c choice) error {
	f, err := form(r, "username", "password", "return")
	if err != nil {
		return err
	}
	c.Return, c.User = localPath(f["return"]), clip(f["username"])
	step, err := d.config.SignIn.Bind(r.Context(), d.client(r), signin.Bind{Provider: c.Name, Name: f["username"], Password: secret.NewText(f["password"]), Return: c.Return})
	if err != nil {
		c.Error = sentence(err)
		return d.again(w, r, err, "provider", page.View{Data: c})
	}
	d.arrive(w, r, step)
	return nil
}

// callback takes the answer of an OpenID Connect provider.
func (d *Door) callback(w http.ResponseWriter, r *http.Request) error {
	answer, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(r.URL.RawQuery) > maxBody {
		return sallyport.Wrap("sign in", sallyport.Invalid, "the address cannot be read", err)
	}
	step, err := d.config.SignIn.Federated(r.Context(), d.client(r), r.PathValue("idp"), d.cookie(r, awayCookie), answer)
	if err != nil {
		return err
	}
	d.arrive(w, r, step)
	return nil
}

// postedCallback turns an answer that came as a form into the address of callback: the browser brings its cookie there.
func (d *Door) postedCallback(w http.ResponseWriter, r *http.Request) error {
	if err := posted(r); err != nil {
		return err
	}
	q := url.Values{}
	for _, name := range []string{"code", "state", "iss", "error", "error_description"} {
		if values, ok := r.PostForm[name]; ok {
			q[name] = values
		}
	}
	to := "/login/oidc/" + url.PathEscape(r.PathValue("idp")) + "/callback?" + q.Encode()
	if len(to) > maxBody {
		return sallyport.E("sign in", sallyport.TooLarge, "the answer is too long", "")
	}
	d.onwardTo(w, r, to, "Signing in")
	return nil
}

// acs takes the answer of a SAML provider.
func (d *Door) acs(w http.ResponseWriter, r *http.Request) error {
	if err := posted(r); err != nil {
		return err
	}
	name := r.PathValue("idp")
	if err := d.config.SignIn.Receive(r.Context(), d.client(r), name, r.PostForm); err != nil {
		return err
	}
	d.onwardTo(w, r, "/login/with/"+url.PathEscape(name)+"/finish", "Signing in")
	return nil
}

func (d *Door) finish(w http.ResponseWriter, r *http.Request) error {
	step, err := d.config.SignIn.Collect(r.Context(), d.client(r), r.PathValue("idp"), d.cookie(r, awayCookie))
	if err != nil {
		return err
	}
	d.arrive(w, r, step)
	return nil
}

// arrive hands out what a provider's proof has earned.
func (d *Door) arrive(w http.ResponseWriter, r *http.Request, step signin.Step) {
	if step.Next == signin.NeedsCodeHere {
		d.set(w, awayCookie, step.Flow, flowLife)
		seeOther(w, r, "/login/with/"+url.PathEscape(r.PathValue("idp"))+"/code")
		return
	}
	d.set(w, awayCookie, secret.Text{}, 0)
	d.advance(w, r, step)
}

func (d *Door) showProviderCode(w http.ResponseWriter, r *http.Request) error {
	c, err := d.choice(r, "")
	if err != nil {
		return err
	}
	d.show(w, r, http.StatusOK, "providercode", page.View{Data: c})
	return nil
}

func (d *Door) takeProviderCode(w http.ResponseWriter, r *http.Request) error {
	c, err := d.choice(r, "")
	if err != nil {
		return err
	}
	f, err := form(r, "code")
	if err != nil {
		return err
	}
	step, err := d.config.SignIn.FederatedCode(r.Context(), d.client(r), c.Name, d.cookie(r, awayCookie), f["code"])
	if err == nil {
		d.arrive(w, r, step)
		return nil
	}
	if d.down(err, step) {
		return err
	}
	d.set(w, awayCookie, step.Flow, flowLife)
	if step.Flow.IsZero() {
		return err
	}
	c.Error = sentence(err)
	return d.again(w, r, err, "providercode", page.View{Data: c})
}

func (d *Door) metadata(w http.ResponseWriter, r *http.Request) error {
	p, err := d.config.SignIn.Federation.Provider(r.PathValue("idp"))
	if err != nil {
		return err
	}
	s, ok := p.Upstream.(interface{ Metadata() []byte })
	if !ok {
		return sallyport.E("metadata", sallyport.NotFound, p.Title+" does not speak SAML", "")
	}
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	_, _ = w.Write(s.Metadata())
	return nil
}

// backchannel ends the sessions that a provider's logout token names (OpenID Connect Back-Channel Logout 1.0, section 2.5).
func (d *Door) backchannel(w http.ResponseWriter, r *http.Request) error {
	if err := posted(r); err != nil {
		return err
	}
	token := r.PostForm["logout_token"]
	if len(token) != 1 {
		return sallyport.E("log out", sallyport.Invalid, "there is no single logout_token", "")
	}
	_, err := d.config.SignIn.LogoutToken(r.Context(), d.client(r), r.PathValue("idp"), token[0])
	if sallyport.KindOf(err) == sallyport.Unknown {
		err = sallyport.Wrap("log out", sallyport.Invalid, "the logout token proves nothing", err) // 400, as the standard has it
	}
	return err
}

// posted reads the form of another site.
func posted(r *http.Request) error {
	const op = "read form"
	if r.URL.RawQuery != "" || r.Header.Get("Content-Type") == "" {
		return sallyport.E(op, sallyport.Invalid, "the body is not a form, or the address holds parameters", "send application/x-www-form-urlencoded")
	}
	if err := r.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return sallyport.E(op, sallyport.TooLarge, "the form is too large", "send at most 512 KiB")
		}
		return sallyport.Wrap(op, sallyport.Invalid, "the body cannot be read as a form", err)
	}
	return nil
}
