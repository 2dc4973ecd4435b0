package passkey

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/softkey"
)

const (
	site = "https://sallyport.example"
	ana  = sallyport.PrincipalID("user:ana")
)

// A desk is the room on a database, with a clock that the test moves and a maker whose model is on the list.
type desk struct {
	*Service
	t      *testing.T
	at     time.Time
	maker  *softkey.Maker
	config Config
}

func newDesk(t *testing.T, change ...func(*Config)) *desk {
	t.Helper()
	d := &desk{t: t, at: time.Now()}
	var err error
	if d.maker, err = softkey.NewMaker("Test Key 5", d.at); err != nil {
		t.Fatal(err)
	}
	d.config = Config{URL: site, Name: "Sallyport", Models: []Model{{AAGUID: d.maker.AAGUID, Name: "Test Key 5", Roots: []*x509.Certificate{d.maker.Root()}}},
		Store: openStore(t, filepath.Join(t.TempDir(), "store.db")), Seal: seal, Open: unseal, Now: func() time.Time { return d.at }, Random: rand.Reader}
	for _, c := range change {
		c(&d.config)
	}
	d.again()
	return d
}

// again is a restart with the configuration as it is now.
func (d *desk) again() {
	d.t.Helper()
	var err error
	if d.Service, err = New(d.config); err != nil {
		d.t.Fatal(err)
	}
}

// seal stands for the keyring: it hides the value and binds it to its context.
func seal(value []byte, context string) ([]byte, error) {
	out := slices.Clone(value)
	for i := range out {
		out[i] ^= 0x5a
	}
	return append([]byte(context+"\n"), out...), nil
}

func unseal(sealed []byte, context string) ([]byte, error) {
	value, ok := bytes.CutPrefix(sealed, []byte(context+"\n"))
	if !ok {
		return nil, errors.New("sealed for somebody else")
	}
	out, err := seal(value, "")
	return out[1:], err
}

// register gives a person a passkey of a key, within the session "S-1".
func (d *desk) register(id sallyport.PrincipalID, k *softkey.Key) (Passkey, error) {
	d.t.Helper()
	o, err := d.BeginRegister(d.t.Context(), Person{ID: id, Display: "Ana"}, "S-1")
	if err != nil {
		return Passkey{}, err
	}
	response, err := k.Create(o.JSON, site)
	if err != nil {
		d.t.Fatal(err)
	}
	p, err := d.FinishRegister(d.t.Context(), o.Handle, "S-1", "", response)
	if err != nil {
		return Passkey{}, err
	}
	return p, d.Add(d.t.Context(), p)
}

func (d *desk) registered(id sallyport.PrincipalID, k *softkey.Key) Passkey {
	d.t.Helper()
	p, err := d.register(id, k)
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// signIn proves whoever the key knows.
func (d *desk) signIn(k *softkey.Key) (Proved, error) {
	d.t.Helper()
	o, err := d.BeginSignIn(d.t.Context())
	if err != nil {
		return Proved{}, err
	}
	response, err := k.Get(o.JSON, site)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.Finish(d.t.Context(), o.Handle, SignIn, "", response)
}

func wantReason(t *testing.T, what string, err error, kind sallyport.Kind, reason string) {
	t.Helper()
	if err == nil || sallyport.KindOf(err) != kind || sallyport.ReasonOf(err) != reason {
		t.Errorf("%s = %v (%v, %s), want %v, %s", what, err, sallyport.KindOf(err), sallyport.ReasonOf(err), kind, reason)
	}
}

// edit changes one member of a response.
func edit(t *testing.T, response []byte, change func(r map[string]any)) []byte {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal(response, &all); err != nil {
		t.Fatal(err)
	}
	change(all["response"].(map[string]any))
	out, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
