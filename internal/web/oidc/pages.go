package oidc

import (
	"embed"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"sallyport"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/web/oauth"
	"sallyport/internal/web/page"
)

//go:embed pages/*.html
var pageFiles embed.FS

// newPages reads the pages. Browsers hold the redirect after a form against its form-action, so a page with a decision
// names the addresses of its client beside our own.
func newPages() (*page.Set, error) {
	return page.New(pageFiles)
}

type message struct {
	Title, Text string
	Bad         bool
}

// page turns a handler that returns an error into one for people. This is the one place where errors become pages.
func (s *Server) page(h func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		page.Headers(w, r)
		err := h(w, r)
		if err == nil {
			return
		}
		_, status := oauth.CodeOf(err)
		switch status {
		case http.StatusUnauthorized: // there is no challenge that a browser could answer
			status = http.StatusBadRequest
			if sallyport.KindOf(err) == sallyport.Unknown {
				status = http.StatusForbidden
			}
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			w.Header().Set("Retry-After", strconv.Itoa(oauth.WaitOf(err)))
		}
		if status >= 500 {
			s.cfg.Log.Error("authorization server", "path", r.URL.Path, "err", err)
		}
		view := page.View{Data: message{Title: "This did not work", Text: sallyport.PublicText(err), Bad: true}}
		if err := s.pages.Write(w, r, status, "message", view); err != nil {
			s.cfg.Log.Error("authorization server", "path", r.URL.Path, "err", err)
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
}

type consentPage struct {
	Title, Client, Who, Where string
	Rights                    []right
	Audiences                 []string
	Identity                  bool
	Purpose                   string
	Remember                  bool // an answer is kept until it is taken back
	Action, Request, Mark     string
}

// A right is one item of a scope, with what it means.
type right struct{ Item, Words string }

// plainly says a scope in words.
func plainly(scope sallyport.Scope) []right {
	all := make([]right, len(scope))
	for i, item := range scope {
		what, on, bound := strings.Cut(item, "@")
		words := "everything that you may do"
		if what != "*" {
			words = doing(what)
		}
		if bound {
			words += ", on " + on
		} else if what != "*" {
			words += ", wherever you may"
		}
		all[i] = right{item, words}
	}
	return all
}

// doing says what an action or a group of actions is. What has no sentence of its own is named.
func doing(what string) string {
	known := map[string]string{
		"model.list": "see which models there are", "model.read": "read what models are about", "model.introspect": "see how models are served",
		"model.infer": "use models", "model.embed": "make embeddings with models", "model.evaluate": "evaluate models",
		"model.pull": "take copies of models, with their weights", "model.pullAux": "take tokenizers and settings of models", "model.export": "give models to people outside",
		"model.push": "add versions of models", "model.register": "register models", "model.promote": "release models", "model.deploy": "put models to work",
		"model.delete": "delete models", "model.*": "do anything with models", "dataset.read": "read datasets", "dataset.write": "change datasets",
		"dataset.*": "do anything with datasets", "server.read": "see your own account", "audit.read": "read the audit log", "grant.approve": "approve requests of others",
		"policy.activate": "change the rules of access", "identity.administer": "manage people",
	}
	if words, ok := known[what]; ok {
		return words
	}
	if group, ok := strings.CutSuffix(what, ".*"); ok {
		return "do everything about: " + group
	}
	return "do: " + what
}

// showConsent asks the person. The form carries the request and a mark over it and the session: what is approved is
// what was shown, to whom it was shown.
func (s *Server) showConsent(w http.ResponseWriter, r *http.Request, req request, who sallyport.Principal) error {
	text := req.shown.Encode()
	ask := req.Ask
	return s.pages.Write(w, r, http.StatusOK, "consent", page.View{Who: who.ID.Name(), Leads: ask.Client.RedirectOrigins(), Data: consentPage{
		Title: "Allow access", Client: ask.Client.Name, Who: string(who.ID), Rights: plainly(ask.Scope), Audiences: ask.Audiences, Identity: ask.OpenID,
		Purpose: ask.Purpose, Remember: strings.HasPrefix(ask.RedirectURI, "https://"), Where: destination(ask),
		Action: pathConsent, Request: text, Mark: s.bind("consent", who.Session, string(who.ID), text),
	}})
}

// destination tells where the answer goes.
func destination(ask codes.Ask) string {
	if port, ok := ask.Client.LoopbackPort(ask.RedirectURI); ok {
		return "The answer goes to the program on this computer that listens on port " + strconv.Itoa(port) + "."
	}
	if u, err := url.Parse(ask.RedirectURI); err == nil {
		return "The answer goes to " + u.Host + "."
	}
	return ""
}

// consent takes the person's decision.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) error {
	form, err := oauth.ReadForm(w, r)
	if err != nil {
		return err
	}
	text := form.Get("request")
	query, err := url.ParseQuery(text)
	if err != nil || len(text) > oauth.MaxQuery+256 {
		return fault("invalid_request", "the form was changed")
	}
	req, err := s.read(r, query)
	if err != nil {
		return err
	}
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if !s.suffices(req, who) {
		seeOther(w, s.signIn(req, who))
		return nil
	}
	if !s.bound(form.Get("mark"), "consent", who.Session, string(who.ID), text) {
		err := sallyport.E("consent", sallyport.Unknown, "the form is not from this session", "go back and reload the page").Because("consent.mark")
		s.programs.Refused(r, who.ID, req.Ask.Client.ID, err)
		return err
	}
	if form.Get("decision") != "approve" {
		return s.sendError(w, r, req, fault("access_denied", "the person refused"))
	}
	if err := s.cfg.Codes.Remember(r.Context(), who.ID, req.Ask); err != nil {
		return err
	}
	return s.sendCode(w, r, req, who)
}

type app struct {
	ID, Name, Given string
	Rights          []right
	Identity        bool
	Mark            string
}

// apps lists what the person has allowed for good.
func (s *Server) apps(w http.ResponseWriter, r *http.Request) error {
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if who.ID == "" {
		seeOther(w, s.cfg.SignIn(Prompt{Next: pathApps, Needs: sallyport.SingleFactor}))
		return nil
	}
	all, err := s.cfg.Codes.Flows.Consents(r.Context(), who.ID)
	if err != nil {
		return err
	}
	list := make([]app, len(all))
	for i, c := range all {
		list[i] = app{ID: c.Client, Name: c.Client, Given: c.Given.Format("2 January 2006"), Rights: plainly(c.Scope), Identity: c.OpenID,
			Mark: s.bind("forget", who.Session, string(who.ID), c.Client)}
		if client, err := s.cfg.Issuer.Clients.Find(r.Context(), c.Client); err == nil {
			list[i].Name = client.Name
		}
	}
	return s.pages.Write(w, r, http.StatusOK, "apps", page.View{Who: who.ID.Name(), Wide: true, Data: struct {
		Action string
		Apps   []app
	}{pathForget, list}})
}

// forget takes back what the person has allowed one client.
func (s *Server) forget(w http.ResponseWriter, r *http.Request) error {
	form, err := oauth.ReadForm(w, r)
	if err != nil {
		return err
	}
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if !s.bound(form.Get("mark"), "forget", who.Session, string(who.ID), form.Get("client")) {
		return sallyport.E("take permission back", sallyport.Unknown, "the form is not from this session", "reload the page").Because("consent.mark")
	}
	if err := s.cfg.Codes.Forget(r.Context(), who.ID, form.Get("client")); err != nil {
		return err
	}
	seeOther(w, pathApps)
	return nil
}
