package ldap_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"sallyport"
	"sallyport/internal/identity/federation"
	"sallyport/internal/identity/federation/ldap"
	"sallyport/internal/plumbing/secret"
)

const (
	base     = "dc=acme,dc=example"
	reader   = "cn=reader," + base
	readerPW = "reads only"
	anaPW    = "ana's own password"
)

// A slapd is a real OpenLDAP server of a test, on loopback.
type slapd struct {
	t           *testing.T
	plain, safe string // addresses
	roots       *x509.CertPool
	admin       *goldap.Conn
}

// newSlapd starts a server with some people. Without the program the test is skipped.
func newSlapd(t *testing.T) *slapd {
	t.Helper()
	program, err := exec.LookPath("slapd")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/slapd"); err != nil {
			t.Skip("slapd is not installed, so nothing was asked of a real directory")
		}
	}
	dir := t.TempDir()
	s := &slapd{t: t, plain: freeAddress(t), safe: freeAddress(t), roots: certificate(t, dir)}
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile %[1]s/pid
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
database mdb
maxsize 16777216
suffix "%[2]s"
rootdn "cn=admin,%[2]s"
rootpw admin
directory %[1]s/db
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to * by dn="%[3]s" read by * none
`, dir, base, reader)
	file := filepath.Join(dir, "slapd.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "-f", file, "-h", "ldap://"+s.plain+" ldaps://"+s.safe, "-d", "0")
	command.Stderr = t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	s.fill()
	return s
}

func (s *slapd) fill() {
	s.t.Helper()
	var err error
	for range 200 {
		if s.admin, err = goldap.DialURL("ldap://" + s.plain); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.admin.Close() })
	if err := s.admin.Bind("cn=admin,"+base, "admin"); err != nil {
		s.t.Fatal(err)
	}
	s.add(base, "objectClass", "dcObject", "objectClass", "organization", "dc", "acme", "o", "Acme")
	s.add("ou=people,"+base, "objectClass", "organizationalUnit", "ou", "people")
	s.add("ou=others,"+base, "objectClass", "organizationalUnit", "ou", "others")
	s.add("ou=groups,"+base, "objectClass", "organizationalUnit", "ou", "groups")
	s.add(reader, "objectClass", "organizationalRole", "objectClass", "simpleSecurityObject", "cn", "reader", "userPassword", readerPW)
	s.person("ana", "people", anaPW)
	s.person("bo", "people", "bo's own password")
	s.person("twin", "people", "first")
	s.person("twin", "others", "second")
	s.add("cn=engineers,ou=groups,"+base, "objectClass", "groupOfNames", "cn", "engineers", "member", "uid=ana,ou=people,"+base, "member", "uid=bo,ou=people,"+base)
}

func (s *slapd) person(name, unit, password string) {
	s.t.Helper()
	s.add("uid="+name+",ou="+unit+","+base, "objectClass", "inetOrgPerson", "uid", name, "cn", "Ms "+name, "sn", name, "mail", name+"@acme.example", "userPassword", password, "employeeType", "active")
}

func (s *slapd) add(dn string, attributes ...string) {
	s.t.Helper()
	r := goldap.NewAddRequest(dn, nil)
	values := map[string][]string{}
	for i := 0; i < len(attributes); i += 2 {
		values[attributes[i]] = append(values[attributes[i]], attributes[i+1])
	}
	for name, v := range values {
		r.Attribute(name, v)
	}
	if err := s.admin.Add(r); err != nil {
		s.t.Fatalf("%s: %v", dn, err)
	}
}

func (s *slapd) directory(change ...func(*ldap.Config)) *ldap.Directory {
	s.t.Helper()
	c := ldap.Config{Name: "people", Title: "Acme directory", URL: "ldaps://" + s.safe, Roots: s.roots, BindDN: reader, Password: secret.NewText(readerPW), Base: base,
		Filter: "(&(objectClass=inetOrgPerson)(uid={}))", Active: "(employeeType=active)", ID: "entryUUID", Attributes: []string{"uid", "cn", "mail", "memberOf"}, Timeout: 3 * time.Second}
	for _, f := range change {
		f(&c)
	}
	d, err := ldap.New(c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { d.Close() })
	return d
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certificate writes cert.pem and key.pem for loopback and returns the pool that trusts them.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "directory"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

func check(d *ldap.Directory, name, password string) (federation.Assertion, error) {
	return d.Check(context.Background(), name, secret.NewText(password))
}

func denied(t *testing.T, what string, err error) {
	t.Helper()
	if sallyport.KindOf(err) != sallyport.Unknown || sallyport.PublicText(err) != "sign in: the user name or the password is wrong; try again" {
		t.Errorf("%s: %v, want the one answer to whoever cannot sign in", what, err)
	}
}

func TestDirectory(t *testing.T) {
	s := newSlapd(t)
	search := func(c *ldap.Config) {
		c.URL, c.GroupBase, c.GroupFilter = "ldap://"+s.plain, "ou=groups,"+base, "(&(objectClass=groupOfNames)(member={}))"
	}
	for name, d := range map[string]*ldap.Directory{"ldaps": s.directory(), "StartTLS and a search for groups": s.directory(search)} {
		a, err := check(d, "ana", anaPW)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if a.Issuer != "ldap:people" || len(a.Subject) != 36 || !slices.Equal(a.Claims["mail"], []string{"ana@acme.example"}) || !slices.Equal(a.Claims["cn"], []string{"Ms ana"}) {
			t.Errorf("%s: %+v", name, a)
		}
		groups, memberOf := a.Claims["groups"], a.Claims["memberOf"]
		if name == "ldaps" && !slices.Equal(memberOf, []string{"cn=engineers,ou=groups," + base}) || name != "ldaps" && !slices.Equal(groups, []string{"engineers"}) {
			t.Errorf("%s: groups %v, memberOf %v", name, groups, memberOf)
		}
		for what, x := range map[string][2]string{"wrong password": {"ana", "wrong"}, "unknown": {"nobody", anaPW}, "another's password": {"bo", anaPW}} {
			_, err := check(d, x[0], x[1])
			denied(t, name+": "+what, err)
		}
		if lines, err := d.Test(t.Context()); err != nil || len(lines) != 3 {
			t.Errorf("%s: Test: %v, %v", name, lines, err)
		}
	}
}

// LDAP1: what is typed is a name and never a part of a filter.
func TestLDAP1NamesAreNoFilters(t *testing.T) {
	s := newSlapd(t)
	d := s.directory()
	for _, name := range []string{"*", "a*", "a)(uid=*", "ana)(|(uid=*", "*)(objectClass=*", "ana\x00", "\x00", `an\61`, `\2a`, "ana\\", "(uid=ana)", "uid=ana,ou=people," + base, "", strings.Repeat("a", 257)} {
		_, err := check(d, name, anaPW)
		denied(t, fmt.Sprintf("%.40q", name), err)
	}
	if _, err := check(d, "ana", anaPW); err != nil {
		t.Error(err)
	}
}

// LDAP2: an empty password would be an anonymous bind, which succeeds. It never gets as far as a connection.
func TestLDAP2EmptyPassword(t *testing.T) {
	var called atomic.Int64
	d := silent(t, func(net.Conn) { called.Add(1) })
	for _, password := range []string{"", strings.Repeat("x", 1025)} {
		_, err := check(d, "ana", password)
		denied(t, "password of "+fmt.Sprint(len(password)), err)
	}
	if called.Load() != 0 {
		t.Errorf("%d connections", called.Load())
	}
	if _, err := ldap.New(ldap.Config{Name: "x", URL: "ldaps://x", BindDN: "cn=x", Base: "x", ID: "x", Filter: "(uid={})"}); sallyport.KindOf(err) != sallyport.Invalid {
		t.Errorf("a service account without a password: %v", err)
	}
}

// silent is a directory behind which serve answers each connection.
func silent(t *testing.T, serve func(net.Conn)) *ldap.Directory {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	d, err := ldap.New(ldap.Config{Name: "people", Title: "Acme directory", URL: "ldap://" + l.Addr().String(), BindDN: reader, Password: secret.NewText(readerPW), Base: base,
		Filter: "(uid={})", ID: "entryUUID", Timeout: 200 * time.Millisecond, Pool: 1})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// LDAP3: without a TLS that proves the server there is no bind at all: no password leaves.
func TestLDAP3NoBindWithoutTLS(t *testing.T) {
	var mu sync.Mutex
	var sent []byte
	refuses := silent(t, func(c net.Conn) {
		defer c.Close()
		buffer := make([]byte, 4096)
		for {
			n, err := c.Read(buffer)
			mu.Lock()
			sent = append(sent, buffer[:n]...)
			mu.Unlock()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte{0x30, 0x0c, 0x02, 0x01, 0x01, 0x78, 0x07, 0x0a, 0x01, 0x02, 0x04, 0x00, 0x04, 0x00}) // ExtendedResponse: protocolError
		}
	})
	if _, err := check(refuses, "ana", anaPW); sallyport.KindOf(err) != sallyport.Unavailable || sallyport.ReasonOf(err) != federation.ReasonDown {
		t.Errorf("StartTLS refused: %v", err)
	}
	mu.Lock()
	if text := string(sent); len(text) == 0 || strings.Contains(text, readerPW) || strings.Contains(text, anaPW) || strings.Contains(text, reader) {
		t.Errorf("sent %q", text)
	}
	mu.Unlock()

	s := newSlapd(t)
	other := certificate(t, t.TempDir())
	for name, d := range map[string]*ldap.Directory{
		"ldaps":    s.directory(func(c *ldap.Config) { c.Roots = other }),
		"StartTLS": s.directory(func(c *ldap.Config) { c.Roots, c.URL = other, "ldap://"+s.plain }),
		"the name": s.directory(func(c *ldap.Config) { c.URL = "ldaps://localhost:" + s.safe[strings.LastIndex(s.safe, ":")+1:] }),
	} {
		if _, err := check(d, "ana", anaPW); sallyport.KindOf(err) != sallyport.Unavailable || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s with another certificate: %v", name, err)
		}
	}
}

// LDAP4: two of one name are nobody, referrals are not followed, and a slow server costs its timeout and no connection.
func TestLDAP4AmbiguousReferredSlow(t *testing.T) {
	s := newSlapd(t)
	d := s.directory()
	for _, password := range []string{"first", "second"} {
		_, err := check(d, "twin", password)
		denied(t, "twin", err)
	}
	wide := s.directory(func(c *ldap.Config) { c.Filter = "(|(uid={})(objectClass=inetOrgPerson))" })
	_, err := check(wide, "ana", anaPW)
	denied(t, "more than two", err)

	s.add("ou=elsewhere,"+base, "objectClass", "referral", "objectClass", "extensibleObject", "ou", "elsewhere", "ref", "ldap://127.0.0.1:1/ou=elsewhere,"+base)
	if _, err := check(d, "ana", anaPW); sallyport.KindOf(err) != sallyport.Unavailable || !strings.Contains(err.Error(), "refers to another") {
		t.Errorf("a referral: %v", err)
	}
	if _, err := d.Lookup(t.Context(), []string{"x"}); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("a sweep that meets a referral: %v", err)
	}
	if err := s.admin.Del(goldap.NewDelRequest("ou=elsewhere,"+base, []goldap.Control{goldap.NewControlManageDsaIT(true)})); err != nil {
		t.Fatal(err)
	}
	if _, err := check(d, "ana", anaPW); err != nil {
		t.Errorf("afterwards: %v", err)
	}

	slow := silent(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for range 5 { // more than the pool has
		if _, err := check(slow, "ana", anaPW); sallyport.ReasonOf(err) != federation.ReasonDown {
			t.Fatalf("a slow server: %v", err)
		}
	}
	closed, err := ldap.New(ldap.Config{Name: "x", Title: "X", URL: "ldaps://" + freeAddress(t), BindDN: reader, Password: secret.NewText("x"), Base: base, Filter: "(uid={})", ID: "entryUUID"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := check(closed, "ana", anaPW); sallyport.ReasonOf(err) != federation.ReasonDown {
		t.Errorf("a server that is not there: %v", err)
	}
	var group sync.WaitGroup // more at once than the pool has
	for range 12 {
		group.Go(func() {
			if _, err := check(d, "ana", anaPW); err != nil {
				t.Errorf("at once: %v", err)
			}
		})
	}
	group.Wait()
}

// A sweep sees who vanished and who was disabled; a wrong base is an error, never everybody's leaving.
func TestLookup(t *testing.T) {
	s := newSlapd(t)
	d := s.directory()
	var subjects []string
	for name, password := range map[string]string{"ana": anaPW, "bo": "bo's own password"} {
		a, err := check(d, name, password)
		if err != nil {
			t.Fatal(err)
		}
		subjects = append(subjects, a.Subject)
	}
	for range 120 {
		subjects = append(subjects, "00000000-0000-0000-0000-000000000000")
	}
	there := func() (names []string) {
		t.Helper()
		found, err := d.Lookup(t.Context(), subjects)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range found {
			names = append(names, a.Claims["uid"]...)
		}
		slices.Sort(names)
		return names
	}
	if got := there(); !slices.Equal(got, []string{"ana", "bo"}) {
		t.Fatalf("%v", got)
	}
	disable := goldap.NewModifyRequest("uid=bo,ou=people,"+base, nil)
	disable.Replace("employeeType", []string{"left"})
	if err := s.admin.Modify(disable); err != nil {
		t.Fatal(err)
	}
	if got := there(); !slices.Equal(got, []string{"ana"}) {
		t.Errorf("after bo was disabled: %v", got)
	}
	_, err := check(d, "bo", "bo's own password")
	denied(t, "disabled", err)
	if err := s.admin.Del(goldap.NewDelRequest("uid=ana,ou=people,"+base, nil)); err != nil {
		t.Fatal(err)
	}
	if got := there(); len(got) != 0 {
		t.Errorf("after ana was deleted: %v", got)
	}
	for name, bad := range map[string]*ldap.Directory{
		"another base":    s.directory(func(c *ldap.Config) { c.Base = "ou=typo," + base }),
		"another account": s.directory(func(c *ldap.Config) { c.Password = secret.NewText("wrong") }),
	} {
		if found, err := bad.Lookup(t.Context(), subjects); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
}

func TestConfigs(t *testing.T) {
	good := ldap.Config{Name: "x", URL: "ldaps://x", BindDN: "cn=x", Password: secret.NewText("x"), Base: "x", ID: "entryUUID", Filter: "(uid={})"}
	if _, err := ldap.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ldap.Config){
		"http": func(c *ldap.Config) { c.URL = "http://x" }, "a path": func(c *ldap.Config) { c.URL = "ldap://x/dc=x" }, "a user": func(c *ldap.Config) { c.URL = "ldap://u@x" },
		"anonymous": func(c *ldap.Config) { c.BindDN = "" }, "no place for the name": func(c *ldap.Config) { c.Filter = "(uid=x)" }, "two places": func(c *ldap.Config) { c.Filter = "(|(uid={})(cn={}))" },
		"no filter": func(c *ldap.Config) { c.Filter = "uid={}" }, "half a filter": func(c *ldap.Config) { c.Active = "(a=b" }, "no id": func(c *ldap.Config) { c.ID = "" },
		"groups without a filter": func(c *ldap.Config) { c.GroupBase = "x" },
	} {
		c := good
		change(&c)
		if _, err := ldap.New(c); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
