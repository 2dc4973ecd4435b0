package demo

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/client/device"
	"sallyport/internal/demo/people"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/posture"
	"sallyport/internal/plumbing/secret"
)

func (s *story) binds(ctx context.Context, eva *people.Person) (seen, error) {
	if err := eva.Bind(ctx); err != nil {
		return seen{}, err
	}
	return seen{outcome: "signed-in"}, eva.Login(ctx, sallyport.NoAssurance)
}

func (s *story) boundCall(ctx context.Context, eva *people.Person) (seen, error) {
	me, err := eva.Client.Who(ctx)
	if err != nil {
		return seen{}, err
	}
	got, err := s.latest(ctx, eva, sallyport.ServerRead, string(me.ID)+", by a token that is bound")
	if err == nil && !got.asked.Bound {
		err = errors.New("the decision does not know that the token is bound")
	}
	return got, err
}

// shownElsewhere shows a bound token as somebody does who has the token and not the key: as it is, and with a key of
// their own.
func (s *story) shownElsewhere(ctx context.Context, _ *people.Person) (seen, error) {
	eva, err := s.who("eva")
	if err != nil {
		return seen{}, err
	}
	copied, err := eva.Token(ctx, client.OpenAI)
	if err != nil {
		return seen{}, err
	}
	if status, err := s.withToken(ctx, copied.Reveal()); err != nil || status != http.StatusUnauthorized {
		return seen{}, fmt.Errorf("the token alone gets %d: %w", status, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return seen{}, err
	}
	own := jose.Signer{Key: key, Algorithm: jose.ES256, Rand: rand.Reader}
	_, nonce, err := s.withKey(ctx, copied, own, "")
	if err != nil {
		return seen{}, err
	}
	status, _, err := s.withKey(ctx, copied, own, nonce)
	return seen{outcome: fmt.Sprint(status), note: "the token is good, and of no use without its key"}, err
}

// withKey lists models with an access token and a proof of a key (RFC 9449), and returns the status and the nonce for the
// next proof.
func (s *story) withKey(ctx context.Context, token secret.Text, key jose.Signer, nonce string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.External()+"/openai/v1/models", nil)
	if err != nil {
		return 0, "", err
	}
	proof, err := key.SignProof(jose.ProofFor{Method: r.Method, URL: r.URL.String(), Token: token, Nonce: nonce, Now: time.Now()})
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", "DPoP "+token.Reveal())
	r.Header.Set("DPoP", proof.Reveal())
	answer, err := s.wire.Do(r)
	if err != nil {
		return 0, "", err
	}
	return answer.StatusCode, answer.Header.Get("DPoP-Nonce"), answer.Body.Close()
}

func (s *story) theft(ctx context.Context, alba *people.Person) (seen, error) {
	return s.recorded(ctx, alba, sallyport.EventTokenTheft, "user:eva")
}

// A laptop is an enrolled computer.
type laptop struct {
	*device.Device
	http *http.Client // shows its certificate
}

// enrolsLaptop makes a computer of a few files, which is what the software class looks at.
func (s *story) enrolsLaptop(ctx context.Context, tess *people.Person) (seen, error) {
	root := s.path("people", "tess", "laptop")
	for name, text := range map[string]string{"etc/machine-id": "5a11e9027a5c4b0e8f3d7c6b2a190e44\n", "proc/sys/kernel/osrelease": "6.1.0\n"} {
		at := filepath.Join(root, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, []byte(text), 0o600)); err != nil {
			return seen{}, err
		}
	}
	none := func(context.Context, string, ...string) (string, error) {
		return "", errors.New("the laptop has no programs")
	}
	keeper := &device.Keeper{Dir: s.path("people", "tess", "device"), Now: time.Now,
		System: posture.System{OS: "linux", Root: os.DirFS(root), Home: "home", Run: none}}
	d, enrolled, err := keeper.Enrol(ctx, tess.Client, device.Enrolment{Name: "tess-laptop", Software: true})
	if err != nil {
		return seen{}, err
	}
	transport, err := people.Trusting(s.server.CA())
	if err != nil {
		return seen{}, errors.Join(err, d.Close())
	}
	transport.TLSClientConfig.GetClientCertificate = func(q *tls.CertificateRequestInfo) (*tls.Certificate, error) { return d.Certificate(q) }
	s.laptop = &laptop{Device: d, http: &http.Client{Transport: transport, Timeout: time.Minute}}
	return seen{resource: enrolled.ID, outcome: "enrolled", note: fmt.Sprintf("level %d, its certificate ends %s", enrolled.Level, enrolled.Expires.Format(time.DateTime))}, nil
}

func (s *story) fromLaptop(ctx context.Context, tess *people.Person) (seen, error) {
	if s.laptop == nil {
		return seen{}, errors.New("there is no laptop")
	}
	c := chat(tess, closed, false, 4)
	c.via = s.laptop.http
	a, err := s.ask(ctx, c)
	if err != nil {
		return seen{}, err
	}
	got, err := s.answered(ctx, a, http.StatusOK, "")
	if err != nil {
		return got, err
	}
	if d := got.asked.Device; d == nil || d.ID != s.laptop.ID() || d.Level != 2 {
		return got, fmt.Errorf("the decision knows of the device: %+v", d)
	}
	got.note = fmt.Sprintf("device %s, class %s, level %d", got.asked.Device.ID, got.asked.Device.Class, got.asked.Device.Level)
	return got, nil
}

func (s *story) removesLaptop(ctx context.Context, tess *people.Person) (seen, error) {
	if s.laptop == nil {
		return seen{}, errors.New("there is no laptop")
	}
	c := chat(tess, closed, true, 4000)
	c.via = s.laptop.http
	running, err := s.begin(ctx, c, 200)
	if err != nil {
		return seen{}, err
	}
	began := time.Now()
	if _, err := tess.Client.RemoveDevice(ctx, s.laptop.ID(), "sold", false); err != nil {
		return seen{}, err
	}
	if err := running.wait(ctx); err != nil {
		return seen{}, err
	}
	took := time.Since(began)
	return s.broken(ctx, running, fmt.Sprintf("the stream had ended %d ms after the order was given", took.Milliseconds()))
}

// broken tells why the log says that a call was cut.
func (s *story) broken(ctx context.Context, t *transfer, note string) (seen, error) {
	got, err := s.decided(ctx, t.decision, note)
	if err != nil {
		return got, err
	}
	w, err := s.cast["alba"].Client.Why(ctx, t.decision)
	if err != nil {
		return got, err
	}
	if w.Cut == nil {
		return got, fmt.Errorf("the log does not say that %s was cut", t.decision)
	}
	l, err := sallyport.DecodeLogged(w.Cut.Leaf)
	if err != nil {
		return got, err
	}
	got.outcome = "cut"
	if got.reason = ""; len(l.Reasons) > 0 {
		got.reason = l.Reasons[0]
	}
	return got, nil
}
