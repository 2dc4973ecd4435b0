package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/identity/token/exchange"
	"sallyport/internal/identity/token/keys"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/sqldb/sqldbtest"
	"strings"
)

const (
	external = "https://sallyport.example"
	api      = external + "/api"
	hub      = external + "/hf"
	redirect = "http://127.0.0.1:4242/callback"
)

// A world is the room on a real store, with a clock that the test moves and a seal that lets the test see the keys.
type world struct {
	t        testing.TB
	db       *sqldb.DB
	store    sqldb.Tokens
	keys     *keys.Keys
	issuer   *token.Issuer
	codes    *codes.Service
	exchange *exchange.Service
	verifier *token.Verifier

	mu      sync.Mutex
	at      time.Time
	private *ecdsa.PrivateKey // the newest
	events  []sallyport.Event
	logDown bool
}

func newWorld(t testing.TB) *world {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	template, err := migrated()
	if err == nil {
		err = os.WriteFile(path, template, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqldbtest.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w := &world{t: t, db: db, store: db.Token(), at: time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)}
	if w.keys, err = keys.Open(t.Context(), w.keysConfig()); err != nil {
		t.Fatal(err)
	}
	w.verifier, err = access.NewVerifier(access.VerifierConfig{Issuer: external, Keys: w.keys.Current, Leeway: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	other := token.CommandLine(external)
	other.ID, other.Name = "other", "Another program"
	narrow := clients.Client{
		ID: "narrow", Name: "A narrow program", RedirectURIs: []string{"https://client.example/callback"}, Grants: []clients.Grant{clients.Code},
		Scopes: sallyport.Scope{"model.infer"}, Default: sallyport.Scope{"model.infer"}, Audiences: []string{hub},
	}
	registry, err := clients.New(w.store, w.now, token.CommandLine(external), token.Hub(external), other, narrow)
	if err != nil {
		t.Fatal(err)
	}
	w.issuer = &token.Issuer{
		URL: external, Clients: registry, Keys: w.keys, Families: w.store, Now: w.now, Rand: rand.Reader,
		Record: w.record, Forget: w.verifier.Forget,
	}
	w.exchange = &exchange.Service{Issuer: w.issuer, Verifier: w.verifier, Standing: w.standing, Workload: w.workload}
	w.codes = &codes.Service{Issuer: w.issuer, Store: w.store, Flows: w.store}
	return w
}

// keysConfig seals by putting the associated data in front, which is no secrecy but notices mixed-up rows.
func (w *world) keysConfig() keys.Config {
	return keys.Config{
		Store: w.store, Rand: rand.Reader, Now: w.now, Life: access.Lifetime + access.MaxLeeway,
		Seal: func(_ context.Context, plain, associated []byte) ([]byte, error) {
			key, err := x509.ParsePKCS8PrivateKey(plain)
			if err != nil {
				return nil, err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.private = key.(*ecdsa.PrivateKey)
			sum := sha256.Sum256(associated)
			return append(sum[:], plain...), nil
		},
		Open: func(_ context.Context, sealed, associated []byte) ([]byte, error) {
			if sum := sha256.Sum256(associated); len(sealed) < len(sum) || string(sealed[:len(sum)]) != string(sum[:]) {
				return nil, errors.New("sealed for something else")
			}
			return append([]byte(nil), sealed[sha256.Size:]...), nil
		},
	}
}

// migrated is an empty database with all tables, made once: most of a test's time would go into making it.
var migrated = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "store.db")
	db, err := sqldbtest.Open(context.Background(), path)
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func (w *world) record(_ context.Context, e sallyport.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.logDown {
		return errors.New("the disk is full")
	}
	w.events = append(w.events, e)
	return nil
}

func (w *world) count(t sallyport.EventType) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.events {
		if e.Type == t {
			n++
		}
	}
	return n
}

func (w *world) by(client string) token.By {
	w.t.Helper()
	c, err := w.issuer.Clients.Find(w.t.Context(), client)
	if err != nil {
		w.t.Fatal(err)
	}
	return token.By{Client: c, IP: "192.0.2.7"}
}

func (w *world) ana() sallyport.Principal {
	return sallyport.Principal{
		ID: "user:ana", Person: "user:ana", Session: "S-1", Assurance: sallyport.MultiFactor, Methods: []string{"pwd", "otp"}, AuthTime: w.now(),
	}
}

const codeVerifier = "a-code-verifier-that-is-long-enough-for-rfc-7636"

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (w *world) code() secret.Text {
	w.t.Helper()
	code, err := w.codes.Authorize(w.t.Context(), w.ana(), codes.Ask{
		Client: w.by("sallyport-cli").Client, Scope: sallyport.Scope{"model.infer", "model.read"}, RedirectURI: redirect, Challenge: challenge(codeVerifier),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

func redeem(code secret.Text) codes.Exchange {
	return codes.Exchange{Code: code, RedirectURI: redirect, Verifier: secret.NewText(codeVerifier)}
}

// login goes through the code flow.
func (w *world) login() token.Issued {
	w.t.Helper()
	issued, err := w.codes.Exchange(w.t.Context(), w.by("sallyport-cli"), redeem(w.code()), token.Want{})
	if err != nil {
		w.t.Fatal(err)
	}
	return issued
}

// standing knows some services and agents, all of them answered for by ana.
func (w *world) standing(_ context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) {
	if id.Name() == "gone" {
		return "", sallyport.E("directory", sallyport.NotFound, "suspended", "")
	}
	return "user:ana", nil
}

// workload trusts proofs of the form "PRINCIPAL SECONDS SCOPE…".
func (w *world) workload(_ context.Context, client string, proof secret.Text) (exchange.Workload, error) {
	words := strings.Fields(proof.Reveal())
	if len(words) < 3 {
		return exchange.Workload{}, sallyport.E("workload", sallyport.Unknown, "no rule", "").Because("workload.rule")
	}
	life, err := time.ParseDuration(words[1])
	if err != nil {
		return exchange.Workload{}, err
	}
	return exchange.Workload{Principal: sallyport.PrincipalID(words[0]), Scope: words[2:], Expires: w.now().Add(life), Rule: "test"}, nil
}

// verify returns the reason of the refusal, "" for a good token.
func (w *world) verify(raw secret.Text, audience string) string {
	if _, err := w.verifier.Verify(w.t.Context(), raw, audience, w.now()); err != nil {
		if sallyport.KindOf(err) != sallyport.Unknown {
			w.t.Errorf("Verify: kind %v of %v, want unknown", sallyport.KindOf(err), err)
		}
		return sallyport.ReasonOf(err)
	}
	return ""
}

func wantReason(t testing.TB, what string, err error, want string) {
	t.Helper()
	if err == nil || sallyport.ReasonOf(err) != want {
		t.Errorf("%s = %v (reason %q), want reason %q", what, err, sallyport.ReasonOf(err), want)
	}
}

// claims are those of a good token, for tests to spoil.
func (w *world) claims() map[string]any {
	now := w.now().Unix()
	return map[string]any{
		"iss": external, "sub": "user:ana", "aud": api, "exp": now + 600, "iat": now, "jti": "j", "client_id": "sallyport-cli",
		"scope": "model.infer", "acr": "aal2", "amr": []string{"pwd"}, "auth_time": now, "sid": "S-1", "fam": "f",
	}
}

func (w *world) kid() string {
	var set struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal(w.keys.Current().Document(), &set); err != nil || len(set.Keys) == 0 {
		w.t.Fatal("no keys", err)
	}
	return set.Keys[len(set.Keys)-1].Kid
}

func (w *world) header() string {
	return fmt.Sprintf(`{"alg":"ES256","kid":%q,"typ":"at+jwt"}`, w.kid())
}

// forge signs any header over any claims with the server's own key: what it makes is wrong only as the test says.
func (w *world) forge(header string, claims map[string]any) secret.Text {
	w.t.Helper()
	body, err := json.Marshal(claims)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.forgeBytes(header, body)
}

func (w *world) forgeBytes(header string, body []byte) secret.Text {
	input := encode([]byte(header)) + "." + encode(body)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, w.private, sum[:])
	if err != nil {
		w.t.Fatal(err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return secret.NewText(input + "." + encode(signature[:]))
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func registered(w *world) []clients.Client {
	w.t.Helper()
	all, err := w.issuer.Clients.All(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}
