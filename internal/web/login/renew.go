package login

import (
	"net/http"

	"sallyport"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/page"
)

// renewPage asks for another password, where the one of the sign-in is known from a breach.
const renewPage = "/login/renew"

func (d *Door) showRenew(w http.ResponseWriter, r *http.Request) error {
	m, err := d.config.SignIn.Renewal(r.Context(), d.cookie(r, flowCookie))
	if err != nil {
		return err
	}
	d.show(w, r, http.StatusOK, "renew", page.View{Data: entry{Name: m.ID.Name()}})
	return nil
}

func (d *Door) takeRenewed(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "password", "again")
	if err != nil {
		return err
	}
	flow := d.cookie(r, flowCookie)
	m, err := d.config.SignIn.Renewal(r.Context(), flow)
	if err != nil {
		return err
	}
	if f["password"] != f["again"] {
		err = sallyport.E("change password", sallyport.Invalid, "the two new passwords are not the same", "type them again")
		return d.again(w, r, err, "renew", page.View{Data: entry{Name: m.ID.Name(), Error: sentence(err)}})
	}
	step, err := d.config.SignIn.Renew(r.Context(), d.client(r), flow, secret.NewText(f["password"]))
	if err != nil {
		return d.again(w, r, err, "renew", page.View{Data: entry{Name: m.ID.Name(), Error: sentence(err)}})
	}
	d.advance(w, r, step)
	return nil
}
