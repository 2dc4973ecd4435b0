//go:build e2e

package federation

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A keycloak is a real Keycloak in development mode, on loopback, with its database in memory.
type keycloak struct {
	t          *testing.T
	url, realm string
}

const administrator, administratorPassword = "root", "root of the test"

func startKeycloak(t *testing.T) *keycloak {
	t.Helper()
	home := os.Getenv("SALLYPORT_E2E_KEYCLOAK")
	if home == "" {
		home, _ = filepath.Abs("../../.ci/cache/keycloak-26.4.0")
	}
	if _, err := os.Stat(filepath.Join(home, "bin", "kc.sh")); err != nil {
		t.Skipf("%v: install it with e2e/federation/install.sh", err)
	}
	address, management := freeAddress(t), freeAddress(t)
	k := &keycloak{t: t, url: "http://" + address}
	k.realm = k.url + "/realms/acme"
	command := exec.Command(filepath.Join(home, "bin", "kc.sh"), "start-dev", "--db=dev-mem", "--cache=local", "--http-host=127.0.0.1", "--http-port="+port(address), "--http-management-port="+port(management), "--log-level=warn")
	command.Env = append(os.Environ(), "KC_BOOTSTRAP_ADMIN_USERNAME="+administrator, "KC_BOOTSTRAP_ADMIN_PASSWORD="+administratorPassword, "JAVA_OPTS_KC_HEAP=-Xms64m -Xmx512m", "JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1")
	run(t, command)
	begun := time.Now()
	for time.Since(begun) < 3*time.Minute {
		if answer, err := http.Get(k.url + "/realms/master"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				t.Logf("Keycloak began in %s", time.Since(begun).Round(time.Second))
				return k
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatal("Keycloak did not begin")
	return nil
}

// run starts a program and ends it with the test, children included.
func run(t *testing.T, command *exec.Cmd) {
	t.Helper()
	if command.Stderr, command.WaitDelay = t.Output(), 5*time.Second; command.Stdout == nil {
		command.Stdout = t.Output()
	}
	command.SysProcAttr = ownGroup()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		endGroup(command)
		_ = command.Wait()
	})
}

// token is an access token of the administrator, who lives for a minute at a time.
func (k *keycloak) token() string {
	k.t.Helper()
	answer, err := http.PostForm(k.url+"/realms/master/protocol/openid-connect/token", url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {administrator}, "password": {administratorPassword}})
	if err != nil {
		k.t.Fatal(err)
	}
	defer answer.Body.Close()
	var said struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil || said.Token == "" {
		k.t.Fatalf("%d: %v", answer.StatusCode, err)
	}
	return said.Token
}

// startNode runs a provider of node/ and waits until it listens.
func startNode(t *testing.T, arguments ...string) {
	t.Helper()
	if _, err := os.Stat("node/node_modules"); err != nil {
		t.Skipf("%v: install it with e2e/federation/install.sh", err)
	}
	command := exec.Command("node", arguments...)
	command.Dir = "node"
	out, in := io.Pipe()
	command.Stdout = in
	run(t, command)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "ready" {
			go func() {
				for lines.Scan() {
				}
			}()
			return
		}
	}
	t.Fatalf("%v did not begin", arguments)
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

func port(address string) string { return address[strings.LastIndex(address, ":")+1:] }

func write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// selfSigned writes a certificate and its RSA key, and returns their paths.
func selfSigned(t *testing.T, dir string) (certificate, key string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "idp"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, "idp.crt"), filepath.Join(dir, "idp.key")
	write(t, certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	return certificate, key
}
