package oidc

import (
	"net/http"
	"net/url"

	"sallyport"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/web/oauth"
	"sallyport/internal/web/page"
)

type activatePage struct{ Action, Code, Problem string }

// activate shows the form for a user code. A code in the address only fills the field: whoever sends a link cannot
// skip the question.
func (s *Server) activate(w http.ResponseWriter, r *http.Request) error {
	code, ok := codes.NormalUserCode(r.URL.Query().Get("user_code"))
	if ok {
		code = codes.ShowUserCode(code)
	}
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if who.ID == "" {
		seeOther(w, s.cfg.SignIn(Prompt{Next: activateAt(code), Needs: sallyport.SingleFactor}))
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
	form, err := oauth.ReadForm(w, r)
	if err != nil {
		return err
	}
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if who.ID == "" {
		seeOther(w, s.cfg.SignIn(Prompt{Next: pathActivate, Needs: sallyport.SingleFactor}))
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
	client, err := s.cfg.Issuer.Clients.Find(r.Context(), d.Client)
	if err != nil {
		return err
	}
	code, _ := codes.NormalUserCode(form.Get("user_code"))
	return s.pages.Write(w, r, http.StatusOK, "consent", page.View{Who: who.ID.Name(), Data: consentPage{
		Title: "Allow a device", Client: client.Name, Who: string(who.ID), Rights: plainly(d.Scope), Audiences: d.Audiences, Identity: d.OpenID, Purpose: d.Purpose,
		Where:  "The request came from " + d.From + ", with the code " + codes.ShowUserCode(code) + ".",
		Action: pathDecide, Request: code, Mark: s.bind("device", who.Session, string(who.ID), code),
	}})
}

// guess looks a user code up. Each try counts before it is made; a right one takes back only itself, so that nobody
// makes room for guesses by typing codes of their own.
func (s *Server) guess(r *http.Request, who sallyport.Principal, code string) (codes.Device, error) {
	key := "usercode:" + string(who.ID)
	if err := s.cfg.Guess(r.Context(), key); err != nil {
		s.programs.Refused(r, who.ID, "", err)
		return codes.Device{}, err
	}
	d, err := s.cfg.Codes.Device(r.Context(), code)
	if err != nil {
		s.programs.Refused(r, who.ID, "", err)
		return codes.Device{}, err
	}
	if s.cfg.Forgive != nil {
		err = s.cfg.Forgive(r.Context(), key)
	}
	return d, err
}

// activateDecide takes the person's decision. The mark proves that they found the code by the throttled way.
func (s *Server) activateDecide(w http.ResponseWriter, r *http.Request) error {
	form, err := oauth.ReadForm(w, r)
	if err != nil {
		return err
	}
	code := form.Get("request")
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if who.ID == "" {
		seeOther(w, s.cfg.SignIn(Prompt{Next: pathActivate, Needs: sallyport.SingleFactor}))
		return nil
	}
	if !s.bound(form.Get("mark"), "device", who.Session, string(who.ID), code) {
		err := sallyport.E("connect device", sallyport.Unknown, "the form is not from this session", "type the code again").Because("consent.mark")
		s.programs.Refused(r, who.ID, "", err)
		return err
	}
	title, text := "Connected", "The device is connected. You can close this page."
	if form.Get("decision") == "approve" {
		err = s.cfg.Codes.ApproveDevice(r.Context(), who, code)
	} else {
		title, text = "Refused", "The device gets nothing. You can close this page."
		err = s.cfg.Codes.DenyDevice(r.Context(), code)
	}
	if err != nil {
		return err
	}
	return s.pages.Write(w, r, http.StatusOK, "message", page.View{Who: who.ID.Name(), Data: message{Title: title, Text: text}})
}
