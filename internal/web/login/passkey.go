package login

import (
	"bytes"
	_ "embed" // for the script
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"sallyport"
	"sallyport/internal/identity/passkey"
	"sallyport/internal/identity/signin"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/page"
)

//go:embed static/passkey.js
var script []byte

// maxCeremony bounds the answer of a browser: attestations hold whole chains of certificates.
const maxCeremony = 96 << 10

// An answered is what comes of a ceremony: where the browser goes on.
type answered struct {
	Next string `json:"next"`
}

// A finish is a browser's answer to options.
type finish struct {
	Response json.RawMessage `json:"response"`
	Return   string          `json:"return"`
	Label    string          `json:"label"`
}

// ceremonies are the two requests of each kind of ceremony, in JSON.
func (d *Door) ceremonies() map[string]handler {
	in := d.config.SignIn
	return map[string]handler{
		"POST /passkey/signin/begin": d.options(func(r *http.Request) (passkey.Options, error) { return in.PasskeySignIn(r.Context()) }),
		"POST /passkey/second/begin": d.options(func(r *http.Request) (passkey.Options, error) {
			return in.PasskeySecond(r.Context(), d.cookie(r, flowCookie))
		}),
		"POST /passkey/stepup/begin":    d.options(func(r *http.Request) (passkey.Options, error) { return in.PasskeyStepUp(r.Context(), d.client(r)) }),
		"POST /passkey/register/begin":  d.options(func(r *http.Request) (passkey.Options, error) { return in.PasskeyAdd(r.Context(), d.client(r)) }),
		"POST /passkey/signin/finish":   d.settle(d.finishSignIn),
		"POST /passkey/second/finish":   d.settle(d.finishSecond),
		"POST /passkey/stepup/finish":   d.settle(d.finishStepUp),
		"POST /passkey/register/finish": d.settle(d.finishRegister),
	}
}

// options hands out the options of a ceremony; its handle goes into a cookie, so that only this browser can finish it.
func (d *Door) options(begin func(*http.Request) (passkey.Options, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		o, err := begin(r)
		if err != nil {
			d.failJSON(w, r, err)
			return nil
		}
		d.set(w, ceremonyCookie, o.Handle, passkey.CeremonyLife)
		writeJSON(w, http.StatusOK, o.JSON)
		return nil
	}
}

// settle takes a browser's answer, once: the cookie goes with it.
func (d *Door) settle(do func(http.ResponseWriter, *http.Request, finish) (signin.Step, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		in, err := readFinish(r)
		var step signin.Step
		if err == nil {
			step, err = do(w, r, in)
		}
		d.set(w, ceremonyCookie, secret.Text{}, 0)
		if err != nil {
			d.failJSON(w, r, err)
			return nil
		}
		next := d.onward(step.Return)
		if step.Next == signin.Renewing {
			next = renewPage
		} else {
			d.set(w, sessionCookie, step.Bearer, 0)
		}
		writeJSON(w, http.StatusOK, answered{Next: next})
		return nil
	}
}

func (d *Door) finishSignIn(w http.ResponseWriter, r *http.Request, in finish) (signin.Step, error) {
	step, err := d.config.SignIn.SignInPasskey(r.Context(), d.client(r), d.cookie(r, ceremonyCookie), in.Response, localPath(in.Return))
	if err == nil {
		d.set(w, flowCookie, secret.Text{}, 0)
	}
	return step, err
}

func (d *Door) finishSecond(w http.ResponseWriter, r *http.Request, in finish) (signin.Step, error) {
	step, err := d.config.SignIn.SecondPasskey(r.Context(), d.client(r), d.cookie(r, flowCookie), d.cookie(r, ceremonyCookie), in.Response)
	if !d.down(err, step) {
		d.set(w, flowCookie, step.Flow, flowLife) // the next attempt's, or none
	}
	return step, err
}

func (d *Door) finishStepUp(_ http.ResponseWriter, r *http.Request, in finish) (signin.Step, error) {
	step, err := d.config.SignIn.StepUpPasskey(r.Context(), d.client(r), d.cookie(r, ceremonyCookie), in.Response)
	step.Return = localPath(in.Return)
	return step, err
}

func (d *Door) finishRegister(_ http.ResponseWriter, r *http.Request, in finish) (signin.Step, error) {
	step, err := d.config.SignIn.AddPasskey(r.Context(), d.client(r), d.cookie(r, ceremonyCookie), in.Label, in.Response)
	step.Return = "/account"
	return step, err
}

// readFinish reads a body, strictly: what is not understood is refused.
func readFinish(r *http.Request) (finish, error) {
	const op = "read answer"
	var in finish
	body, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return in, sallyport.E(op, sallyport.TooLarge, "the answer is too large", "")
		}
		return in, sallyport.Wrap(op, sallyport.Invalid, "the body cannot be read", err)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if r.URL.RawQuery != "" || r.Header.Get("Content-Type") != "application/json" || dec.Decode(&in) != nil || dec.More() || len(in.Response) == 0 {
		return in, sallyport.E(op, sallyport.Invalid, "the body is not the answer of a browser", "reload the page and try again")
	}
	return in, nil
}

// failJSON answers the script: a sentence, and where a fresh proof comes first, the page for it.
func (d *Door) failJSON(w http.ResponseWriter, r *http.Request, err error) {
	kind := sallyport.KindOf(err)
	if kind == sallyport.Other || kind == sallyport.Unavailable {
		d.config.Log.ErrorContext(r.Context(), "passkey", "path", r.URL.Path, "error", err)
	} else {
		d.config.Log.InfoContext(r.Context(), "a passkey ceremony was refused", "path", r.URL.Path, "cause", err)
	}
	out := struct {
		Error string `json:"error"`
		Next  string `json:"next,omitempty"`
	}{Error: sentence(err)}
	if needed, ok := errors.AsType[*signin.StepUpNeeded](err); ok {
		out.Next = stepUpPage(needed.Level, "/account")
	}
	writeJSON(w, setStatus(w, err), out)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(raw) // a reader who left is nobody's error
}

// withScript is a view of a page that has a passkey button.
func (d *Door) withScript(v page.View) page.View {
	if d.config.SignIn.Passkeys.Off() == nil {
		v.Script = &d.script
	}
	return v
}

// passkeysOff is why there are no passkeys here, for a page; "" where there are.
func (d *Door) passkeysOff() string {
	if err := d.config.SignIn.Passkeys.Off(); err != nil {
		return sentence(err)
	}
	return ""
}
