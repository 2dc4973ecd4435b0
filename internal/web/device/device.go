// Package device owns the door of enrolled devices, who prove themselves by their certificate (mutual TLS, RFC 8446) and by
// no token: renewing it, and saying what state they are in; and, for everybody, what a verifier of their certificates needs.
//
// It leaves the records to identity/device, TLS to the server (behind which a connection's certificate is one of an enrolled
// device), and enrolment, which a person does, to web/admin.
package device

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"

	strict "github.com/go-json-experiment/json"

	"sallyport"
	"sallyport/internal/identity/device"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/web/api"
)

// Path is the prefix of the door's paths.
const Path = "/device/v1"

// maxReport bounds a report, in bytes.
const maxReport = 16 << 10

// A Door serves devices. All fields are needed.
type Door struct {
	Devices *device.Service
	Sync    func(context.Context) error // returns when what was changed is in force
	Logger  *slog.Logger
}

// Routes adds the door's routes.
func (d *Door) Routes(mux *http.ServeMux) {
	mux.HandleFunc("POST "+Path+"/renew", d.device(d.renew))
	mux.HandleFunc("POST "+Path+"/posture", d.device(d.posture))
	mux.HandleFunc("GET "+Path+"/roots.pem", d.roots)
	mux.HandleFunc("GET "+Path+"/revoked.crl", d.revoked)
}

// device is the order of work on what a device asks: its certificate, the work, what changed in force, the answer.
func (d *Door) device(serve func(w http.ResponseWriter, r *http.Request, der []byte) (api.Device, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		httpsafe.SecurityHeaders(w.Header())
		der := httpsafe.PeerCertificate(r)
		if der == nil {
			d.fail(w, r, sallyport.E("device", sallyport.Unknown, "no device certificate was shown", "enrol this device with 'sallyport device enroll'"))
			return
		}
		// A device that hangs up does not stop half-way what is recorded already.
		out, err := serve(w, r.WithContext(context.WithoutCancel(r.Context())), der)
		if err == nil {
			err = d.Sync(r.Context())
		}
		if err != nil {
			d.fail(w, r, err)
			return
		}
		d.answer(w, r, http.StatusOK, out)
	}
}

func (d *Door) renew(_ http.ResponseWriter, r *http.Request, der []byte) (api.Device, error) {
	x, err := d.Devices.Renew(r.Context(), der)
	if err != nil {
		return api.Device{}, err
	}
	out := Show(x.Device, d.Devices.Now())
	out.Chain = x.Chain
	return out, nil
}

func (d *Door) posture(w http.ResponseWriter, r *http.Request, der []byte) (api.Device, error) {
	const op = "read posture"
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReport))
	if err != nil {
		return api.Device{}, sallyport.Wrap(op, sallyport.TooLarge, "the body broke off or is over 16 KiB", err)
	}
	var in api.SignedPosture
	if err := strict.Unmarshal(body, &in, strict.RejectUnknownMembers(true)); err != nil {
		return api.Device{}, sallyport.Wrap(op, sallyport.Invalid, "the body is not a signed report", err)
	}
	x, err := d.Devices.Report(r.Context(), der, in.Signed)
	if err != nil {
		return api.Device{}, err
	}
	return Show(x, d.Devices.Now()), nil
}

func (d *Door) roots(w http.ResponseWriter, _ *http.Request) {
	httpsafe.SecurityHeaders(w.Header())
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, pem := d.Devices.CA.Roots()
	_, _ = w.Write(pem) // the client is gone: nothing is left to tell
}

func (d *Door) revoked(w http.ResponseWriter, r *http.Request) {
	httpsafe.SecurityHeaders(w.Header())
	list, err := d.Devices.Revoked(r.Context())
	if err != nil {
		d.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/pkix-crl") // RFC 2585, section 4.2
	_, _ = w.Write(list)                                   // the client is gone: nothing is left to tell
}

func (d *Door) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := httpsafe.Status(err)
	if status >= http.StatusInternalServerError {
		d.Logger.ErrorContext(r.Context(), "request failed", "door", "device", "path", r.URL.Path, "err", err)
	}
	d.answer(w, r, status, api.Error{Status: status, Message: sallyport.PublicText(err), Kind: sallyport.KindOf(err).String()})
}

func (d *Door) answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		d.Logger.ErrorContext(r.Context(), "encode answer", "err", err)
		status, body = http.StatusInternalServerError, []byte(`{"status":500,"message":"internal error","kind":"internal"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: nothing is left to tell
}

// Show is a device as the API shows it at a time.
func Show(d device.Device, now time.Time) api.Device {
	out := api.Device{ID: d.ID, Owner: d.Owner, Name: d.Name, Class: string(d.Class), Level: int(d.Level), Key: d.Keys.JKT, TPM: d.Hardware,
		Serial: d.Certificate.Serial, Expires: d.Certificate.Expires, Against: d.Against, State: string(d.State), Created: d.Created, Seen: d.Seen,
		Ended: d.Ended, Why: d.Why}
	if p, age := d.Reported(now); age >= 0 {
		out.Posture = &api.Posture{At: p.At, Age: int64(age.Seconds()), OS: p.OS, Updated: p.Updated, Patched: p.Patched, Encrypted: p.Encrypted, Locked: p.Locked}
	}
	return out
}
