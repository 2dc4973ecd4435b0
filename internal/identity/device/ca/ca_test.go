package ca_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/device/ca"
	"sallyport/internal/store/sqldb/sqldbtest"
)

const domain = "acme.example"

// A world is an authority on a real store, with a clock of its own.
type world struct {
	*ca.Authority
	now   time.Time
	store string
}

func (w *world) config(t *testing.T) ca.Config {
	db, err := sqldbtest.Open(t.Context(), w.store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return ca.Config{Store: db.DeviceAuthority(), Domain: domain, Now: func() time.Time { return w.now }, Random: rand.Reader,
		Seal: func(p, a []byte) ([]byte, error) { return append(append([]byte{byte(len(a))}, a...), p...), nil },
		Open: func(c, a []byte) ([]byte, error) {
			if rest, ok := bytes.CutPrefix(c, append([]byte{byte(len(a))}, a...)); ok {
				return bytes.Clone(rest), nil
			}
			return nil, errors.New("sealed for something else")
		}}
}

func newWorld(t *testing.T) *world {
	w := &world{now: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC), store: filepath.Join(t.TempDir(), "ca.db")}
	w.Authority = w.node(t)
	return w
}

// node opens one more node on the same store.
func (w *world) node(t *testing.T) *ca.Authority {
	a, err := ca.Open(t.Context(), w.config(t))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) issue(t *testing.T, id string) ca.Issued {
	t.Helper()
	i, err := w.Issue(newKey(t).Public(), id)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestIssuedCertificatesVerify(t *testing.T) {
	w := newWorld(t)
	i := w.issue(t, "DV-ABC")
	if i.Leaf.URIs[0].String() != "spiffe://acme.example/device/DV-ABC" || !i.Expires.Equal(w.now.Add(24*time.Hour)) || i.Leaf.SerialNumber.BitLen() > 128 ||
		len(i.Leaf.ExtKeyUsage) != 1 || i.Leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || i.Leaf.IsCA {
		t.Errorf("leaf: %v, ends %s, serial %x, usage %v, CA %v", i.Leaf.URIs, i.Expires, i.Leaf.SerialNumber, i.Leaf.ExtKeyUsage, i.Leaf.IsCA)
	}
	verify := func(want string) {
		t.Helper()
		id, err := w.Verify(t.Context(), []*x509.Certificate{i.Leaf})
		if id != want || (want == "") != (sallyport.KindOf(err) == sallyport.Unknown) {
			t.Errorf("at %s: %q, %v; want %q", w.now, id, err, want)
		}
	}
	verify("DV-ABC")
	w.now = w.now.Add(-2 * time.Minute)
	verify("")
	w.now = i.Expires.Add(time.Second)
	verify("")
	if _, err := w.Verify(t.Context(), nil); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("no certificate: %v", err)
	}
}

// TestMTLS5NamesUsagesAndDomains signs what only a thief of the intermediate's key would sign, and wants it refused.
func TestMTLS5NamesUsagesAndDomains(t *testing.T) {
	w := newWorld(t)
	spiffe := func(s string) []*url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return []*url.URL{u}
	}
	const good = "spiffe://acme.example/device/DV-1"
	for name, change := range map[string]func(*x509.Certificate){
		"as it should be":     func(*x509.Certificate) {},
		"outside constraints": func(c *x509.Certificate) { c.URIs = spiffe("spiffe://other.example/device/DV-1") },
		"a host below":        func(c *x509.Certificate) { c.URIs = spiffe("spiffe://x.acme.example/device/DV-1") },
		"an address as host":  func(c *x509.Certificate) { c.URIs = spiffe("spiffe://127.0.0.1/device/DV-1") },
		"another scheme":      func(c *x509.Certificate) { c.URIs = spiffe("https://acme.example/device/DV-1") },
		"no device":           func(c *x509.Certificate) { c.URIs = spiffe("spiffe://acme.example/workload/DV-1") },
		"a deeper path":       func(c *x509.Certificate) { c.URIs = spiffe(good + "/x") },
		"no id":               func(c *x509.Certificate) { c.URIs = spiffe("spiffe://acme.example/device/") },
		"a query":             func(c *x509.Certificate) { c.URIs = spiffe(good + "?a=b") },
		"two names": func(c *x509.Certificate) {
			c.URIs = append(spiffe(good), spiffe("spiffe://acme.example/device/DV-2")...)
		},
		"no name":            func(c *x509.Certificate) { c.URIs = nil },
		"a host name too":    func(c *x509.Certificate) { c.DNSNames = []string{"acme.example"} },
		"a host name only":   func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"other.example"} },
		"an address too":     func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)} },
		"a mail address too": func(c *x509.Certificate) { c.EmailAddresses = []string{"a@acme.example"} },
		"for servers":        func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"for code":           func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} },
		"an authority": func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := w.Template()
			if err != nil {
				t.Fatal(err)
			}
			c.URIs, c.ExtKeyUsage = spiffe(good), []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			change(c)
			leaf, err := w.Sign(c, newKey(t).Public())
			if err != nil {
				t.Fatal(err)
			}
			id, err := w.Verify(t.Context(), []*x509.Certificate{leaf})
			if name == "as it should be" {
				if id != "DV-1" || err != nil {
					t.Errorf("%q, %v", id, err)
				}
			} else if sallyport.KindOf(err) != sallyport.Unknown || id != "" {
				t.Errorf("%q, %v; want it refused", id, err)
			}
		})
	}
}

// TestForeignAuthorities wants the client's own chain to count for nothing.
func TestForeignAuthorities(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	foreign := other.issue(t, "DV-1")
	between, err := x509.ParseCertificate(foreign.Chain[1])
	if err != nil {
		t.Fatal(err)
	}
	if id, err := w.Verify(t.Context(), []*x509.Certificate{foreign.Leaf, between}); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("%q, %v; want it refused", id, err)
	}
	// A forger knows our intermediate's key id, and not its key.
	ours, err := x509.ParseCertificate(w.issue(t, "DV-1").Chain[1])
	if err != nil {
		t.Fatal(err)
	}
	fake := newKey(t)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: w.now.Add(-time.Hour), NotAfter: w.now.Add(time.Hour), URIs: foreign.Leaf.URIs,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	parent := *ours
	parent.PublicKey = fake.Public()
	der, err := x509.CreateCertificate(rand.Reader, c, &parent, newKey(t).Public(), fake)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil || !bytes.Equal(leaf.AuthorityKeyId, ours.SubjectKeyId) {
		t.Fatalf("the forgery does not name our intermediate: %v", err)
	}
	if id, err := w.Verify(t.Context(), []*x509.Certificate{leaf, ours}); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("%q, %v; want it refused", id, err)
	}
}

func TestRotation(t *testing.T) {
	for _, root := range []bool{false, true} {
		t.Run(fmt.Sprint("root ", root), func(t *testing.T) {
			w := newWorld(t)
			second := w.node(t)
			old := w.issue(t, "DV-1")
			rootsBefore, _ := w.Roots()
			if err := w.Rotate(t.Context(), root); err != nil {
				t.Fatal(err)
			}
			fresh := w.issue(t, "DV-2")
			if bytes.Equal(old.Chain[1], fresh.Chain[1]) {
				t.Error("the old intermediate signs after a rotation")
			}
			if after, _ := w.Roots(); after.Equal(rootsBefore) == root {
				t.Errorf("roots: the same %v, want a new one %v", after.Equal(rootsBefore), root)
			}
			w.now = w.now.Add(2 * time.Second) // nodes look at the store at most once a second
			for _, node := range []*ca.Authority{w.Authority, second} {
				for _, i := range []ca.Issued{old, fresh} {
					if _, err := node.Verify(t.Context(), []*x509.Certificate{i.Leaf}); err != nil {
						t.Errorf("after a rotation: %v", err)
					}
				}
			}
			w.now = w.now.Add(ca.LeafLife + 2*time.Minute)
			if err := w.Tend(t.Context()); err != nil {
				t.Fatal(err)
			}
			keys, err := w.Keys(t.Context())
			if err != nil || len(keys) != 2 || !keys[0].Root || keys[1].Root || !keys[1].Retired.IsZero() {
				t.Errorf("what is left: %+v, %v; want one root and one intermediate", keys, err)
			}
			w.now = w.now.Add(-3 * time.Minute) // even within the old leaf's life: what signed it is gone
			if _, err := w.Verify(t.Context(), []*x509.Certificate{old.Leaf}); err == nil {
				t.Error("a certificate of a destroyed intermediate is good")
			}
		})
	}
}

// TestTendReplacesInTime runs twelve years and wants a signer at every moment.
func TestTendReplacesInTime(t *testing.T) {
	w := newWorld(t)
	first, _ := w.Roots()
	for range 12 * 52 {
		w.now = w.now.Add(7 * 24 * time.Hour)
		if err := w.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		i := w.issue(t, "DV-1")
		if _, err := w.Verify(t.Context(), []*x509.Certificate{i.Leaf}); err != nil {
			t.Fatalf("%s: %v", w.now, err)
		}
		between, err := x509.ParseCertificate(i.Chain[1])
		if err != nil || i.Expires.After(between.NotAfter) {
			t.Fatalf("%s: the leaf outlives its issuer: %s, %s, %v", w.now, i.Expires, between.NotAfter, err)
		}
	}
	if last, _ := w.Roots(); last.Equal(first) {
		t.Error("the root was not replaced in twelve years")
	}
}

// TestNodesAgree has nodes make and rotate the authority at once.
func TestNodesAgree(t *testing.T) {
	w := &world{now: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC), store: filepath.Join(t.TempDir(), "ca.db")}
	configs := []ca.Config{w.config(t), w.config(t), w.config(t), w.config(t)}
	nodes, errs := make([]*ca.Authority, len(configs)), make([]error, len(configs))
	var all sync.WaitGroup
	for i, c := range configs {
		all.Go(func() { nodes[i], errs[i] = ca.Open(t.Context(), c) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		all.Go(func() { errs[i] = nodes[i].Rotate(t.Context(), false) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(2 * time.Second)
	for _, from := range nodes {
		i, err := from.Issue(newKey(t).Public(), "DV-1")
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range nodes {
			if _, err := at.Verify(t.Context(), []*x509.Certificate{i.Leaf}); err != nil {
				t.Error(err)
			}
		}
	}
	keys, err := nodes[0].Keys(t.Context())
	signing := 0
	for _, k := range keys {
		if !k.Root && k.Retired.IsZero() {
			signing++
		}
	}
	if err != nil || signing != 1 || !keys[0].Root || keys[1].Root {
		t.Errorf("keys: %+v, %v; want one root, one that signs", keys, err)
	}
}

func TestKeysAreSealed(t *testing.T) {
	w := newWorld(t)
	c := w.config(t)
	records, err := c.Store.Authorities(t.Context())
	if err != nil || len(records) != 2 {
		t.Fatal(len(records), err)
	}
	c.Open = func([]byte, []byte) ([]byte, error) { return nil, errors.New("another key") }
	if _, err := ca.Open(t.Context(), c); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("keys that do not open: %v, want unavailable", err)
	}
	// A record moved to another's place does not open either: the seal names the key.
	c = w.config(t)
	records[0].Sealed, records[1].Sealed = records[1].Sealed, records[0].Sealed
	c.Store = fixed(records)
	if _, err := ca.Open(t.Context(), c); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("swapped keys: %v, want unavailable", err)
	}
}

type fixed []ca.Record

func (f fixed) Authorities(context.Context) ([]ca.Record, error) { return f, nil }
func (f fixed) Succeed(context.Context, string, []ca.Record, time.Time) error {
	return errors.New("fixed")
}
func (f fixed) Forget(context.Context, []string) error { return errors.New("fixed") }

func TestRevocationList(t *testing.T) {
	w := newWorld(t)
	i := w.issue(t, "DV-1")
	serial := i.Leaf.SerialNumber.Text(16)
	der, err := w.List([]ca.Revocation{{Serial: serial, At: w.now, Expires: i.Expires}, {Serial: "aa", At: w.now, Expires: w.now.Add(-time.Second)}, {Serial: "no number"}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || len(list.RevokedCertificateEntries) != 1 || list.RevokedCertificateEntries[0].SerialNumber.Cmp(i.Leaf.SerialNumber) != 0 || !list.NextUpdate.After(w.now) {
		t.Fatalf("%+v, %v", list, err)
	}
	between, err := x509.ParseCertificate(i.Chain[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(between); err != nil {
		t.Error(err)
	}
}

func TestKeysThatDevicesDoNotUse(t *testing.T) {
	w := newWorld(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]crypto.PublicKey{"RSA 1024": small.Public(), "Ed25519": ed, "P-224": p224.Public(), "none": nil, "RSA of nothing": &rsa.PublicKey{}} {
		if _, err := w.Issue(k, "DV-1"); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	for _, id := range []string{"", "a/b", "a?b", "a#b", "%2f"} {
		if _, err := w.Issue(newKey(t).Public(), id); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("id %q: %v, want invalid", id, err)
		}
	}
}

func TestTrustDomains(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{"", "Acme.example", "127.0.0.1", "a..b", ".a", "a.", "a b", "a/b", "ü.example"} {
		c := w.config(t)
		c.Domain = bad
		if _, err := ca.Open(t.Context(), c); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("trust domain %q: %v, want invalid", bad, err)
		}
	}
}
