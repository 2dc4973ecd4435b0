package login

import (
	"net/http"

	"sallyport"
)

// SignOut ends the session of the request's browser, for a door that has asked the person itself, and takes the cookie
// away. Without a session there is nothing to do. It writes no answer.
func (d *Door) SignOut(w http.ResponseWriter, r *http.Request) error {
	one, err := d.Session(r)
	if err == nil {
		err = d.config.SignIn.Revoke(r.Context(), d.client(r), one.ID, "signed out")
	}
	if err != nil && sallyport.KindOf(err) != sallyport.Unknown {
		return err // the cookie stays, so that it can be tried again
	}
	d.forget(w)
	return nil
}
