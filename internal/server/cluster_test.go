//go:build e2e

package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// A cluster is a real API server of Kubernetes on a real etcd, without a node or a controller: what it stores is what it
// was asked to, and who its tokens are is written in a file.
type cluster struct {
	t       *testing.T
	url, ca string
	wire    *http.Client
}

// masters is the group that may do everything as far as the cluster is concerned: what is refused here, Sallyport refuses.
const masters = "system:masters"

// startCluster starts the two programs that SALLYPORT_TEST_ETCD and SALLYPORT_TEST_KUBE_APISERVER name. tokens are the
// cluster's users by their token, with their groups behind a space; config is the file of its admission.
func startCluster(t *testing.T, tokens map[string]string, config string) *cluster {
	t.Helper()
	etcd, apiserver := os.Getenv("SALLYPORT_TEST_ETCD"), os.Getenv("SALLYPORT_TEST_KUBE_APISERVER")
	if etcd == "" || apiserver == "" {
		t.Skip("no API server of Kubernetes: set SALLYPORT_TEST_ETCD and SALLYPORT_TEST_KUBE_APISERVER to the programs (docs/kubernetes.md)")
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	store, peers, port := freePort(t), freePort(t), freePort(t)
	spawn(t, etcd, "--data-dir", file("etcd"), "--listen-client-urls", "http://127.0.0.1:"+store, "--advertise-client-urls", "http://127.0.0.1:"+store,
		"--listen-peer-urls", "http://127.0.0.1:"+peers, "--initial-advertise-peer-urls", "http://127.0.0.1:"+peers, "--initial-cluster", "default=http://127.0.0.1:"+peers)

	c := &cluster{t: t, url: "https://localhost:" + port, ca: file("ca.pem")}
	ca := newRoot(t)
	ca.write(t, c.ca)
	ca.writePair(t, file("server.pem"), file("server.key"), "localhost")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var users strings.Builder
	for token, user := range tokens {
		name, groups, _ := strings.Cut(user, " ")
		fmt.Fprintf(&users, "%s,%s,%s,%q\n", token, name, name, groups)
	}
	for name, text := range map[string][]byte{"accounts.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), "tokens.csv": []byte(users.String())} {
		if err := os.WriteFile(file(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gone := spawn(t, apiserver, "--etcd-servers=http://127.0.0.1:"+store, "--bind-address=127.0.0.1", "--secure-port="+port, "--advertise-address=127.0.0.1",
		"--tls-cert-file="+file("server.pem"), "--tls-private-key-file="+file("server.key"), "--service-account-issuer=https://localhost:"+port,
		"--service-account-key-file="+file("accounts.key"), "--service-account-signing-key-file="+file("accounts.key"), "--token-auth-file="+file("tokens.csv"),
		"--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount", "--admission-control-config-file="+config, "--service-cluster-ip-range=10.0.0.0/24",
		"--endpoint-reconciler-type=none", "--profiling=false")
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	c.wire = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 60 * time.Second}
	t.Cleanup(c.wire.CloseIdleConnections)
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if a, err := c.wire.Get(c.url + "/readyz"); err == nil {
			a.Body.Close()
			if a.StatusCode == http.StatusOK {
				return c
			}
		}
		select {
		case <-gone:
			t.Fatal("the API server has ended")
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the API server is not ready")
		}
	}
}

// spawn starts a program that ends with the test. The channel is closed when it has ended.
func spawn(t *testing.T, program string, args ...string) <-chan struct{} {
	t.Helper()
	var out bytes.Buffer
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, 5*time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait() // it was killed: that is no news
	}()
	t.Cleanup(func() {
		stop()
		<-gone
		if t.Failed() {
			text := out.String()
			t.Logf("%s: …%s", program, text[max(0, len(text)-8000):])
		}
	})
	return gone
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// A told is what an API server answers; of a refusal what kubectl prints is in Message.
type told struct {
	code    int
	Message string `json:"message"`
	Reason  string `json:"reason"`
	Status  struct {
		Token string `json:"token"`
	} `json:"status"`
}

// do sends one request. body is YAML, or JSON, which is YAML too; a patch is a merge patch.
func (c *cluster) do(token, method, path, body string) told {
	c.t.Helper()
	var raw []byte
	if body != "" {
		var v any
		err := yaml.Unmarshal([]byte(body), &v)
		if err == nil {
			raw, err = json.Marshal(v)
		}
		if err != nil {
			c.t.Fatalf("%v\n%s", err, body)
		}
	}
	q, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, bytes.NewReader(raw))
	if err != nil {
		c.t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+token)
	q.Header.Set("Content-Type", map[string]string{http.MethodPatch: "application/merge-patch+json"}[method])
	if method == http.MethodPost {
		q.Header.Set("Content-Type", "application/json")
	}
	a, err := c.wire.Do(q)
	if err != nil {
		c.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	out := told{code: a.StatusCode}
	if json.Unmarshal(text, &out) != nil { // "status" of a refusal is a text
		var refusal struct {
			Message string `json:"message"`
			Reason  string `json:"reason"`
		}
		_ = json.Unmarshal(text, &refusal) // a page of a proxy, then, which code tells
		out.Message, out.Reason = refusal.Message, refusal.Reason
	}
	return out
}

// must does what has to succeed before anything is tested. What only follows a moment later is tried again.
func (c *cluster) must(token, method, path, body string) told {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		a := c.do(token, method, path, body)
		if a.code < 300 {
			return a
		}
		if time.Now().After(deadline) || a.code == http.StatusUnprocessableEntity {
			c.t.Fatalf("%s %s: %d %s", method, path, a.code, a.Message)
		}
	}
}
