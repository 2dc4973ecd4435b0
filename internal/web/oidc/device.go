package oidc

import (
	"net/http"
	"net/url"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/web/page"
)

// answerDevice is RFC 8628, section 3.2.
type answerDevice struct {
	Code     string `json:"device_code"`
	UserCode string `json:"user_code"`
	Address  string `json:"verification_uri"`
	Complete string `json:"verification_uri_complete"`
	Expires  int64  `json:"expires_in"`
	Interval int64  `json:"interval"`
}

// device is the device authorization endpoint (RFC 8628, section 3.1).
func (s *Server) device(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "resource")
	if err != nil {
		return err
	}
	started, err := s.startDevice(r, form)
	if err != nil {
		s.refused(r, "", form.Get("client_id"), err)
		return err
	}
	writeJSON(w, http.StatusOK, answerDevice{
		Code: started.Code.Reveal(), UserCode: started.UserCode, Address: s.cfg.URL + pathActivate,
		Complete: s.cfg.URL + pathActivate + "?" + url.Values{"user_code": {started.UserCode}}.Encode(),
		Expires:  int64(started.Expires.Sub(s.cfg.Now()).Seconds()), Interval: int64(started.Interval / time.Second),
	})
	return nil
}

func (s *Server) startDevice(r *http.Request, form url.Values) (token.Started, error) {
	by, err := s.client(r, form)
	if err != nil {
		return token.Started{}, err
	}
	scope, err := parseScope(form.Get("scope"))
	if err != nil {
		return token.Started{}, err
	}
	return s.cfg.Issuer.StartDevice(r.Context(), by, scope, form["resource"])
}

type activatePage struct{ Action, Code, Problem string }

// activate shows the form for a user code. A code in the address only fills the field: whoever sends a link cannot
// skip the question.
func (s *Server) activate(w http.ResponseWriter, r *http.Request) error {
	code, ok := token.NormalUserCode(r.URL.Query().Get("user_code"))
	if ok {
		code = token.ShowUserCode(code)
	}
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if who.ID == "" {
		seeOther(w, s.cfg.SignIn(activateAt(code), sallyport.SingleFactor, false))
		return nil
	}
	return s.pages.Write(w, r, http.StatusOK, "activate", page.View{Who: who.ID.Name(), Data: activatePage{Action: pathActivate, Code: code}})
}

func activateAt(code string) string {
	if code == "" {
		return pathActivate
	}
	return pathActivate + "?" + url.Values{"user_code": {code}}.Encode()
}

// activateShow checks a user code, under the throttle, and shows what stands behind it.
func (s *Server) activateShow(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if who.ID == "" {
		seeOther(w, s.cfg.SignIn(pathActivate, sallyport.SingleFactor, false))
		return nil
	}
	d, err := s.guess(r, who, form.Get("user_code"))
	if sallyport.KindOf(err) == sallyport.NotFound {
		view := page.View{Who: who.ID.Name(), Data: activatePage{Action: pathActivate, Problem: sallyport.PublicText(err)}}
		return s.pages.Write(w, r, http.StatusBadRequest, "activate", view)
	}
	if err != nil {
		return err
	}
	client, ok := s.cfg.Issuer.Clients.Find(d.Client)
	if !ok {
		return fault("invalid_client", "the client is not registered any more")
	}
	code, _ := token.NormalUserCode(form.Get("user_code"))
	return s.pages.Write(w, r, http.StatusOK, "consent", page.View{Who: who.ID.Name(), Data: consentPage{
		Title: "Allow a device", Client: client.Name, Who: string(who.ID), Scope: d.Scope, Audiences: d.Audiences,
		Where:  "The request came from " + d.From + ", with the code " + token.ShowUserCode(code) + ".",
		Action: pathDecide, Request: code, Mark: s.bind("device", who.Session, string(who.ID), code),
	}})
}

// guess looks a user code up. Each try counts before it is made; a right one takes back only itself, so that nobody
// makes room for guesses by typing codes of their own.
func (s *Server) guess(r *http.Request, who sallyport.Principal, code string) (token.Device, error) {
	key := "usercode:" + string(who.ID)
	if err := s.cfg.Guess(r.Context(), key); err != nil {
		s.refused(r, who.ID, "", err)
		return token.Device{}, err
	}
	d, err := s.cfg.Issuer.Device(r.Context(), code)
	if err != nil {
		s.refused(r, who.ID, "", err)
		return token.Device{}, err
	}
	if s.cfg.Forgive != nil {
		err = s.cfg.Forgive(r.Context(), key)
	}
	return d, err
}

// activateDecide takes the person's decision. The mark proves that they found the code by the throttled way.
func (s *Server) activateDecide(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	code := form.Get("request")
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if who.ID == "" {
		seeOther(w, s.cfg.SignIn(pathActivate, sallyport.SingleFactor, false))
		return nil
	}
	if !s.bound(form.Get("mark"), "device", who.Session, string(who.ID), code) {
		err := sallyport.E("connect device", sallyport.Unknown, "the form is not from this session", "type the code again").Because("consent.mark")
		s.refused(r, who.ID, "", err)
		return err
	}
	title, text := "Connected", "The device is connected. You can close this page."
	if form.Get("decision") == "approve" {
		err = s.cfg.Issuer.ApproveDevice(r.Context(), who, code)
	} else {
		title, text = "Refused", "The device gets nothing. You can close this page."
		err = s.cfg.Issuer.DenyDevice(r.Context(), code)
	}
	if err != nil {
		return err
	}
	return s.pages.Write(w, r, http.StatusOK, "message", page.View{Who: who.ID.Name(), Data: message{Title: title, Text: text}})
}
