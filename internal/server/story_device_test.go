package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	bignum "math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/client/device"
	"sallyport/internal/audit/trail"
	"sallyport/internal/plumbing/posture"
	"sallyport/internal/plumbing/tpmkey/tpmtest"
	"sallyport/internal/web/api"
)

// A laptop is a computer that somebody enrols, and works from.
type laptop struct {
	*device.Device
	client *client.Client // shows the certificate
	api    api.Device     // as it was enrolled
	keeper *device.Keeper
	wire   *http.Client
	files  fstest.MapFS // of its system
}

// Laptop enrols a computer of the person who acts: in software, or with a TPM.
func (r *story) Laptop(name, chip string) *laptop {
	r.t.Helper()
	l := &laptop{files: fstest.MapFS{
		"etc/machine-id":               {Data: []byte("machine " + name)},
		"proc/sys/kernel/osrelease":    {Data: []byte("6.1.0-28-amd64")},
		"var/lib/dpkg/status":          {ModTime: r.clock.Now().Add(-24 * time.Hour)},
		"proc/self/mountinfo":          {Data: []byte("22 1 253:0 / / rw - ext4 /dev/mapper/root rw\n")},
		"sys/dev/block/253:0/dm/uuid":  {Data: []byte("CRYPT-LUKS2-aa")},
		"home/.config/kscreenlockerrc": {},
	}}
	l.keeper = &device.Keeper{Dir: filepath.Join(r.dir, "laptops", name), Now: r.clock.Now, System: posture.System{OS: "linux", Root: l.files, Home: "home"}}
	var err error
	if l.Device, l.api, err = l.keeper.Enrol(r.t.Context(), r.who.client, device.Enrolment{Name: name, Software: chip == "", TPM: chip}); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { l.Close() })
	r.connect(l)
	return l
}

// connect gives a laptop a client of its own, that shows its certificate.
func (r *story) connect(l *laptop) {
	r.t.Helper()
	l.wire = r.showing(l.Certificate)
	var err error
	if l.client, err = client.New(client.Config{Server: r.server.External(), HTTP: l.wire, Store: r.who.store}); err != nil {
		r.t.Fatal(err)
	}
}

// showing is a wire on which a client shows a certificate.
func (r *story) showing(certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)) *http.Client {
	r.t.Helper()
	wire, err := r.system.wire()
	if err != nil {
		r.t.Fatal(err)
	}
	wire.Transport.(*tapped).TLSClientConfig.GetClientCertificate = certificate
	r.t.Cleanup(wire.CloseIdleConnections)
	return wire
}

// From lets the person who acts do it from a laptop.
func (r *story) From(l *laptop) *story {
	shared := *r.scene
	shared.wire = l.wire
	return &story{scene: &shared, who: r.who}
}

// found returns the newest entry of the log that fits.
func (r *story) found(fits func(sallyport.Logged) bool) (sallyport.Logged, bool) {
	r.t.Helper()
	all := r.leaves()
	slices.Reverse(all)
	if i := slices.IndexFunc(all, fits); i >= 0 {
		return all[i], true
	}
	return sallyport.Logged{}, false
}

// TestDV2ManagedAndUnmanaged is one person, one model, one policy: allowed from the laptop that is enrolled and in order,
// denied with the remedy from anywhere else, and asked for more when the laptop's report is old.
func TestDV2ManagedAndUnmanaged(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	adam := r.As("adam").who.client
	set, err := adam.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	set.Why, set.Policies = "weights go to managed devices", cloneMap(set.Policies)
	set.Policies["devices.cedar"] = `@id("weights.managed-device") @owner("security") @requirement("DV-2") @text("Weights go to an enrolled device in order.")
forbid (principal is User, action == Action::"model.pull", resource)
unless { context.device.level >= 2 && context.device.encrypted && context.device.locked && context.device.patched };
@id("weights.fresh-posture") @owner("security") @requirement("DV-2") @text("A device that has not reported for a day needs a stronger proof.")
@outcome("step-up") @needs("aal3")
forbid (principal is User, action == Action::"model.pull", resource)
when { context.device.level >= 2 && context.device.postureAge > 86400 } unless { context.assurance >= 4 };`
	r.InForce(api.Proposal{Schema: set.Schema, Policies: set.Policies, Why: set.Why})
	r.As("ana").Pull(base)
	r.Want(denied, "weights.managed-device")
	if !strings.Contains(string(r.last.body)+r.last.header.Get("X-Error-Message"), "sallyport device enroll") {
		t.Errorf("the refusal does not name the remedy: %s %v", r.last.body, r.last.header)
	}

	ana := r.As("ana")
	l := ana.Laptop("laptop", "")
	if l.api.Level != 2 || l.api.Posture == nil || !l.api.Posture.Encrypted || !l.api.Posture.Locked || !l.api.Posture.Patched {
		t.Fatalf("enrolled %+v, %+v", l.api, l.api.Posture)
	}
	from := ana.From(l)
	from.Pull(base).Want(allowed)
	e, _ := from.decided(from.last.decision)
	if e.Asked == nil || e.Asked.Device == nil || e.Asked.Device.ID != l.ID() || e.Asked.Device.Level != 2 {
		t.Errorf("the device is not in the record: %+v", e.Asked)
	}
	ana.Pull(base) // the same person and token, from elsewhere
	ana.Want(denied, "weights.managed-device")

	// Device management's word outweighs the device's, at once.
	if _, err := adam.ComplyDevice(t.Context(), l.ID(), false, "no endpoint protection"); err != nil {
		t.Fatal(err)
	}
	from.Pull(base).Want(denied, "weights.managed-device")
	if _, err := adam.ComplyDevice(t.Context(), l.ID(), true, ""); err != nil {
		t.Fatal(err)
	}
	from.Pull(base).Want(allowed)

	// The disk was swapped for one in the clear.
	l.files["sys/dev/block/253:0/dm/uuid"] = &fstest.MapFile{Data: []byte("LVM-aa")}
	if _, err := l.Report(t.Context(), l.client); err != nil {
		t.Fatal(err)
	}
	from.Pull(base).Want(denied, "weights.managed-device")
	l.files["sys/dev/block/253:0/dm/uuid"] = &fstest.MapFile{Data: []byte("CRYPT-LUKS2-aa")}
	if _, err := l.Report(t.Context(), l.client); err != nil {
		t.Fatal(err)
	}
	from.Pull(base).Want(allowed)
	if _, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventDevicePosture && e.On == "device:"+l.ID() && e.Detail["encrypted"] == "false"
	}); !ok {
		t.Error("the changed posture is not in the log")
	}
}

func cloneMap(m map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// TestDV5AdminDevice has administration asked for from a device of class admin: the same person from a daily laptop gets
// the explained denial.
func TestDV5AdminDevice(t *testing.T) {
	e := tpmtest.Start(t)
	r := tellAnew(t, trail.Files{})
	adam := r.As("adam").who.client
	daily := r.As("adam").Laptop("daily", "")

	// Without a manufacturer that the operator trusts, a TPM is worth no more than a file.
	if _, err := r.As("ravi").who.client.ClassifyDevice(t.Context(), daily.ID(), "admin"); err == nil {
		t.Error("a reviewer who may not administer promoted a device")
	}
	if _, err := adam.ClassifyDevice(t.Context(), daily.ID(), "admin"); sallyport.KindOf(err) == sallyport.Other && err == nil {
		t.Error("a person promoted their own device")
	}
	r.restartWith(func() { r.config.Devices.EKRoots = e.Roots })
	workstation := r.As("adam").Laptop("workstation", e.Path)
	if workstation.api.Level != 3 || workstation.api.TPM == "" {
		t.Fatalf("enrolled with a TPM: %+v", workstation.api)
	}
	if _, err := adam.ClassifyDevice(t.Context(), workstation.ID(), "admin"); err == nil {
		t.Error("adam promoted his own device")
	}
	join2nd(t, r)
	if d, err := r.As("nora").who.client.ClassifyDevice(t.Context(), workstation.ID(), "admin"); err != nil || d.Class != "admin" {
		t.Fatalf("promoted: %+v, %v", d, err)
	}
	if _, err := r.As("nora").who.client.ClassifyDevice(t.Context(), daily.ID(), "admin"); err == nil {
		t.Error("a key in software was promoted")
	}
	r.As("alba") // who reads the log
	set, err := adam.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	set.Why, set.Policies = "privileged work from privileged places", cloneMap(set.Policies)
	set.Policies["places.cedar"] = `@id("admin.place") @owner("security") @requirement("DV-5") @text("Administration comes from a device for administration.")
forbid (principal is User, action == Action::"identity.administer", resource)
unless { context.device.class == "admin" && context.device.level == 3 };`
	r.InForce(api.Proposal{Schema: set.Schema, Policies: set.Policies, Why: set.Why})
	group := api.Group{Name: "acme/night"}
	_, err = daily.client.DefineGroup(t.Context(), group)
	r.heard("group from the daily laptop", err)
	r.Want(denied, "admin.place")
	_, err = adam.DefineGroup(t.Context(), group)
	r.heard("group from nowhere", err)
	r.Want(denied, "admin.place")
	if _, err = workstation.client.DefineGroup(t.Context(), group); err != nil {
		t.Errorf("from the workstation: %v", err)
	}
}

// join2nd makes nora a second administrator.
func join2nd(t *testing.T, r *story) {
	t.Helper()
	if _, err := r.As("adam").who.client.Assign(t.Context(), api.Assignment{Subject: "user:nora", Role: "administrator", Scope: "system"}); err != nil {
		t.Fatal(err)
	}
}

// restartWith restarts the system after a change of its configuration.
func (r *story) restartWith(change func()) {
	r.t.Helper()
	if err := r.server.Close(); err != nil {
		r.t.Fatal(err)
	}
	change()
	if err := r.start(r.t.Context(), trail.Files{}); err != nil {
		r.t.Fatal(err)
	}
}

// TestMTLS1ResumedAfterRevocation has a client resume a session after its device was removed.
func TestMTLS1ResumedAfterRevocation(t *testing.T) {
	r := tell(t)
	ana := r.As("ana")
	l := ana.Laptop("resuming", "")
	transport := l.wire.Transport.(*tapped)
	transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	transport.DisableKeepAlives = true // every request is a handshake
	get := func() (*http.Response, error) {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.External()+"/device/v1/roots.pem", nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := l.wire.Do(q)
		if err == nil {
			a.Body.Close()
		}
		return a, err
	}
	resumed := false
	for range 3 {
		a, err := get()
		if err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", a, err)
		}
		resumed = a.TLS.DidResume
	}
	if !resumed {
		t.Fatal("sessions are not resumed, so nothing is shown")
	}
	if _, err := ana.who.client.RemoveDevice(t.Context(), l.ID(), "lost", false); err != nil {
		t.Fatal(err)
	}
	if a, err := get(); err == nil && a.StatusCode != http.StatusUnauthorized {
		t.Errorf("after the removal: %d, resumed %v; want the handshake refused", a.StatusCode, a.TLS.DidResume)
	} else if err != nil && !strings.Contains(err.Error(), "tls") && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		// A TLS 1.3 client may write before the server's alert has come, and finds the connection closed.
		t.Errorf("after the removal: %v, want an alert of TLS", err)
	}
}

// TestMTLS2RevokedDuringKeepAlive has a client use a connection from before its device was removed.
func TestMTLS2RevokedDuringKeepAlive(t *testing.T) {
	r := tell(t)
	ana := r.As("ana")
	l := ana.Laptop("staying", "")
	from := ana.From(l)
	from.Pull(base).Want(allowed)
	if _, err := l.client.Devices(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := ana.who.client.RemoveDevice(t.Context(), l.ID(), "lost", false); err != nil {
		t.Fatal(err)
	}
	from.Pull(base)
	if from.last.err == nil && from.last.status != http.StatusUnauthorized {
		t.Errorf("over the old connection: %d, want 401", from.last.status)
	}
	if _, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventRefused && slices.Contains(e.Reasons, "device.unknown")
	}); !ok {
		t.Error("the refusal is not in the log")
	}
	ana.Pull(base) // without the certificate, her token is what it was
	ana.Want(allowed)
}

// TestDV2RemovalCutsTransfers wants a transfer from a device to end with the device.
func TestDV2RemovalCutsTransfers(t *testing.T) {
	r := tell(t)
	ana := r.As("ana")
	l := ana.Laptop("cut", "")
	stream := ana.From(l).Begin(chat(base, true, 0), false)
	if _, err := ana.who.client.RemoveDevice(t.Context(), l.ID(), "lost", false); err != nil {
		t.Fatal(err)
	}
	r.End(stream)
	r.wantCut(stream, "device.removed")
}

// TestMTLS3HeadersOfStrangers sends certificates in headers from peers that may not pass them on.
func TestMTLS3HeadersOfStrangers(t *testing.T) {
	r := tell(t)
	ana := r.As("ana")
	l := ana.Laptop("behind", "")
	chain, err := l.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	field := ":" + base64.StdEncoding.EncodeToString(chain.Certificate[0]) + ":"
	for _, header := range []string{"Client-Cert", "client_cert", "X-Client-Cert", "X-SSL-Client-Cert", "X-Forwarded-Client-Cert"} {
		before := r.counted("header.certificate")
		ana.Send(request{door: client.API, path: api.Version + "/devices", header: map[string]string{header: field}}).WantStatus(http.StatusOK)
		if strings.Contains(string(ana.last.body), `"current":true`) {
			t.Errorf("%s of a stranger is believed", header)
		}
		ana.Send(request{method: http.MethodPost, path: "/device/v1/renew", header: map[string]string{header: field}}).WantStatus(http.StatusUnauthorized)
		if n := r.counted("header.certificate") - before; n != 2 {
			t.Errorf("%s: %d findings recorded, want 2", header, n)
		}
	}
	// A device that is no proxy speaks for itself only.
	other := ana.Laptop("middle", "")
	through := ana.From(other)
	through.Send(request{door: client.API, path: api.Version + "/devices", header: map[string]string{"Client-Cert": field}}).WantStatus(http.StatusOK)
	if body := string(through.last.body); strings.Count(body, `"current":true`) != 1 || !strings.Contains(body, other.ID()) {
		t.Errorf("through a device that is no proxy: %s", body)
	}
}

// counted counts the findings with a reason.
func (r *story) counted(reason string) int {
	r.t.Helper()
	n := 0
	for _, e := range r.leaves() {
		if e.Type == sallyport.EventFinding && slices.Contains(e.Reasons, reason) {
			n++
		}
	}
	return n
}

// TestMTLS3ConfiguredProxy passes a certificate on through a peer that may.
func TestMTLS3ConfiguredProxy(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ana := r.As("ana")
	l, proxy := ana.Laptop("behind", ""), r.As("oto").Laptop("proxy", "")
	r.restartWith(func() { r.config.Devices.Proxies = []string{proxy.ID()} })
	chain, err := l.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	field := ":" + base64.StdEncoding.EncodeToString(chain.Certificate[0]) + ":"
	through := ana.From(proxy)
	list := request{door: client.API, path: api.Version + "/devices"}
	through.Send(list).WantStatus(http.StatusOK) // the proxy's own certificate speaks for nobody
	if strings.Contains(string(through.last.body), `"current":true`) {
		t.Errorf("the proxy's certificate counts for ana: %s", through.last.body)
	}
	list.header = map[string]string{"Client-Cert": field}
	through.Send(list).WantStatus(http.StatusOK)
	if !strings.Contains(string(through.last.body), `"current":true`) {
		t.Errorf("the certificate that the proxy passes on does not count: %s", through.last.body)
	}
	for name, bad := range map[string]string{"text": "x", "no sequence": strings.Trim(field, ":"), "two": field + "," + field, "no certificate": ":AAAA:",
		"a foreign one": ":" + base64.StdEncoding.EncodeToString(selfSigned(t)) + ":"} {
		list.header["Client-Cert"] = bad
		through.Send(list)
		if through.last.status != http.StatusBadRequest && through.last.status != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", name, through.last.status)
		}
	}
	if _, err := ana.who.client.RemoveDevice(t.Context(), l.ID(), "lost", false); err != nil {
		t.Fatal(err)
	}
	list.header["Client-Cert"] = field
	through.Send(list).WantStatus(http.StatusUnauthorized)
}

// selfSigned is a certificate that nobody issued, with a device's name.
func selfSigned(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: bignum.NewInt(1), NotAfter: time.Now().Add(time.Hour * 1000), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestMTLS5ForeignCertificates has the listener refuse what its authority did not issue, over the wire.
func TestMTLS5ForeignCertificates(t *testing.T) {
	r := tell(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: bignum.NewInt(1), NotBefore: r.clock.Now().Add(-time.Hour), NotAfter: r.clock.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	wire := r.showing(func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
	})
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.External()+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := wire.Do(q); err == nil {
		a.Body.Close()
		t.Errorf("answered %d, want the handshake refused", a.StatusCode)
	}
}

// TestDeviceCertificateLives renews a certificate by itself, and by its owner after it has ended; an ended one is not shown,
// and the authority's rotation is not felt.
func TestDeviceCertificateLives(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ana := r.As("ana")
	l := ana.Laptop("living", "")
	if l.Due() {
		t.Error("due at once")
	}
	if _, err := r.As("adam").who.client.RotateAuthority(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r.Later(17 * time.Hour)
	if !l.Due() {
		t.Error("not due with less than a third of its life left")
	}
	d, err := l.Renew(t.Context(), l.client)
	if err != nil || d.ID != l.ID() || l.Due() || !l.Expires().After(r.clock.Now().Add(23*time.Hour)) || d.Posture == nil {
		t.Fatalf("renewed: %+v, %v", d, err)
	}
	again, err := l.keeper.Open(t.Context(), r.server.External())
	if err != nil || again.ID() != l.ID() || !again.Expires().Equal(l.Expires()) {
		t.Fatalf("what is kept: %+v, %v", again, err)
	}
	r.Later(30 * time.Hour)
	if shown, err := l.Certificate(nil); err != nil || len(shown.Certificate) != 0 {
		t.Error("an ended certificate is shown")
	}
	if err := ana.who.login(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.wire.CloseIdleConnections()
	if _, err := l.Renew(t.Context(), l.client); err != nil || !l.Expires().After(r.clock.Now()) {
		t.Fatalf("renewed by its owner: %v", err)
	}
	copied := &device.Keeper{Dir: l.keeper.Dir, Now: r.clock.Now, System: posture.System{OS: "linux", Root: fstest.MapFS{"etc/machine-id": {Data: []byte("elsewhere")}}}}
	if _, err := copied.Open(t.Context(), r.server.External()); sallyport.KindOf(err) != sallyport.Invalid || !strings.Contains(sallyport.PublicText(err), "another computer") {
		t.Errorf("a copied directory: %v", err)
	}
}

// TestDeviceFileIsPrivate wants a key in software to be its owner's only, and no canary beside it.
func TestDeviceFileIsPrivate(t *testing.T) {
	r := tell(t)
	l := r.As("ana").Laptop("private", "")
	files, err := filepath.Glob(filepath.Join(l.keeper.Dir, "device-*.json"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(files[0], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := l.keeper.Open(t.Context(), r.server.External()); sallyport.KindOf(err) != sallyport.Invalid {
		t.Errorf("a key that others may read: %v", err)
	}
}

// TestDeviceAuthorityIsPublished reads what verifiers elsewhere need, and finds a removed device in it.
func TestDeviceAuthorityIsPublished(t *testing.T) {
	r := tell(t)
	ana := r.As("ana")
	l := ana.Laptop("gone", "")
	if _, err := ana.who.client.RemoveDevice(t.Context(), l.ID(), "sold", false); err != nil {
		t.Fatal(err)
	}
	r.Nobody().Send(request{path: "/device/v1/roots.pem"}).WantStatus(http.StatusOK)
	block, _ := pem.Decode(r.last.body)
	if block == nil {
		t.Fatalf("no PEM: %s", r.last.body)
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !root.IsCA {
		t.Fatal(err)
	}
	r.Nobody().Send(request{path: "/device/v1/revoked.crl"}).WantStatus(http.StatusOK)
	list, err := x509.ParseRevocationList(r.last.body)
	if err != nil {
		t.Fatal(err)
	}
	serial, ok := new(bignum.Int).SetString(l.api.Serial, 16)
	if !ok || !slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(serial) == 0 }) {
		t.Errorf("the removed device's certificate %s is not in the list", l.api.Serial)
	}
	sum := sha256.Sum256(root.Raw)
	t.Logf("root %s", hex.EncodeToString(sum[:8]))
}

// TestTK9AuthorityRotatesUnderLoad rotates the device authority, roots too, while devices call over connections new and old:
// no call fails.
func TestTK9AuthorityRotatesUnderLoad(t *testing.T) {
	r := tell(t)
	l := r.As("ana").Laptop("loaded", "")
	adam := r.As("adam").who.client
	stop := make(chan struct{})
	var all sync.WaitGroup
	var calls, failed atomic.Int64
	for i := range 4 {
		wire := r.showing(l.Certificate)
		wire.Transport.(*tapped).DisableKeepAlives = i%2 == 0
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.External()+"/device/v1/roots.pem", nil)
				if err != nil {
					failed.Add(1)
					return
				}
				a, err := wire.Do(q)
				calls.Add(1)
				if err != nil || a.StatusCode != http.StatusOK {
					failed.Add(1)
				}
				if err == nil {
					a.Body.Close()
				}
			}
		})
	}
	for i := range 6 {
		if _, err := adam.RotateAuthority(t.Context(), i%2 == 0); err != nil {
			t.Error(err)
		}
		for n := calls.Load(); calls.Load() < n+8 && t.Context().Err() == nil; { // some of each caller's meet the new authority
			time.Sleep(time.Millisecond)
		}
	}
	close(stop)
	all.Wait()
	if calls.Load() < 48 || failed.Load() > 0 {
		t.Errorf("%d of %d calls failed during six rotations", failed.Load(), calls.Load())
	}
	if _, err := r.As("ana").who.client.RemoveDevice(t.Context(), l.ID(), "done", false); err != nil {
		t.Error(err)
	}
}
