package notify

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

func at() time.Time { return time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) }

func notice() Notice {
	return Notice{ID: "N-1234567890abcdef", Who: "user:ana", Kind: "signin.new", At: at(), Text: "A sign-in to your account, from a new place: Malmö.", Link: "https://sally.example/account"}
}

func key() secret.Bytes { return secret.NewBytes([]byte(strings.Repeat("k", 32))) }

// A message is signed over its id, its time and its body, and holds what the inbox holds and no more.
func TestWebhook(t *testing.T) {
	var got *http.Request
	var body []byte
	status := http.StatusNoContent
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(status)
	}))
	defer hook.Close()
	w, err := NewWebhook(hook.URL+"/notices", key(), hook.Client(), at)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Send(t.Context(), notice(), ""); err != nil {
		t.Fatal(err)
	}
	if want := "v1," + sign([]byte(strings.Repeat("k", 32)), "N-1234567890abcdef", "1772442000", body); got.Header.Get("Webhook-Signature") != want || got.Header.Get("Webhook-Timestamp") != "1772442000" {
		t.Errorf("headers %v", got.Header)
	}
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil || len(m) != 7 || m["plain"] != notice().Text || m["text"] != notice().Text+" "+notice().Link || m["who"] != "user:ana" {
		t.Errorf("body %s", body)
	}
	for _, status = range []int{301, 400, 500} {
		if err := w.Send(t.Context(), notice(), ""); err == nil {
			t.Errorf("an answer of %d is no error", status)
		}
	}
	hook.Close()
	if err := w.Send(t.Context(), notice(), ""); err == nil || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("a webhook that is down: %v", err)
	}
}

// What an asker writes is text in a chat: it mentions nobody, and leads nowhere.
func TestWebhookInjection(t *testing.T) {
	n := notice()
	n.Text = "<!channel> <https://evil.example|Approve here> &lt;@U1&gt; *bold*"
	if got := slack(n); got != "&lt;!channel&gt; &lt;https://evil.example|Approve here&gt; &amp;lt;@U1&amp;gt; *bold* https://sally.example/account" {
		t.Errorf("it reads %q", got)
	}
	n.Text = "@channel x@Everyone [Approve](https://evil.example): acme/fraud@v1, acme/fraud@allocated"
	if got := slack(n); got != "@\u200bchannel x@\u200bEveryone [Approve]\u200b(https://evil.example): acme/fraud@v1, acme/fraud@allocated https://sally.example/account" {
		t.Errorf("to Mattermost and Discord it reads %q", got)
	}
}

// A webhook that leads elsewhere is not followed: what is signed goes to the address of the operator and nowhere else. One
// that never ends its answer, or says much, takes no longer than the attempt.
func TestWebhookAsAttacker(t *testing.T) {
	var elsewhere int
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	done := make(chan struct{})
	for name, serve := range map[string]http.HandlerFunc{
		"leads elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		},
		"hangs": func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-done },
	} {
		hook := httptest.NewServer(serve)
		w, err := NewWebhook(hook.URL, key(), httpsafe.Client(func(netip.AddrPort) bool { return true }, 1), at)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if err := w.Send(ctx, notice(), ""); err == nil || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("one that %s: %v", name, err)
		}
		cancel()
		if name == "hangs" {
			close(done)
		}
		hook.Close()
	}
	if elsewhere != 0 {
		t.Errorf("a redirect was followed %d times", elsewhere)
	}
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	w, err := NewWebhook(endless.URL, key(), httpsafe.Client(func(netip.AddrPort) bool { return true }, 1), at)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Send(t.Context(), notice(), ""); err != nil {
		t.Errorf("one that says much: %v", err)
	}
}

// The signature is the one of Standard Webhooks: its published example, computed with our function.
func TestWebhookSignatureVector(t *testing.T) {
	raw, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	if got := sign(raw, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`)); got != "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signature %s", got)
	}
}

func TestWebhookIsStrict(t *testing.T) {
	for _, to := range []string{"", "http://example.net/x", "https://u:p@example.net/", "ftp://example.net", "https://", "//x", "http://10.0.0.1/"} {
		if _, err := NewWebhook(to, key(), nil, at); err == nil {
			t.Errorf("%q is opened", to)
		}
	}
	if _, err := NewWebhook("https://example.net/", secret.NewBytes([]byte("short")), nil, at); err == nil {
		t.Error("a short key is enough")
	}
}

// A post is a mail server with as much of SMTP as is needed to take one message.
type post struct {
	net.Listener
	tls      *tls.Config
	implicit bool // TLS from the first byte
	noTLS    bool // STARTTLS is not offered
	password string
	refuse   string // a command that is answered 550

	mu   sync.Mutex
	said []string
	mail []string
}

func newPost(t *testing.T, change func(*post)) (*post, *tls.Config) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	p := &post{tls: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: k}}, MinVersion: tls.VersionTLS12}}
	if change != nil {
		change(p)
	}
	if p.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	go func() {
		for {
			c, err := p.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func (p *post) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if p.implicit {
		c = tls.Server(c, p.tls)
	}
	_, secured := c.(*tls.Conn)
	r := bufio.NewReader(c)
	answer := func(lines ...string) { io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n") }
	answer("220 post.example ESMTP")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		p.mu.Lock()
		p.said = append(p.said, line)
		p.mu.Unlock()
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch {
		case p.refuse != "" && verb == p.refuse:
			answer("550 no")
		case verb == "EHLO":
			lines := []string{"250-post.example"}
			if !p.noTLS && !secured {
				lines = append(lines, "250-STARTTLS")
			}
			answer(append(lines, "250 AUTH PLAIN")...)
		case verb == "STARTTLS":
			answer("220 go on")
			t := tls.Server(c, p.tls)
			c, r, secured = t, bufio.NewReader(t), true
		case verb == "AUTH":
			if line == "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00sally\x00"+p.password)) {
				answer("235 welcome")
			} else {
				answer("535 who?")
			}
		case verb == "DATA":
			answer("354 go on")
			var b strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				b.WriteString(line)
			}
			p.mu.Lock()
			p.mail = append(p.mail, b.String())
			p.mu.Unlock()
			answer("250 kept")
		case verb == "QUIT":
			answer("221 bye")
			return
		default:
			answer("250 ok")
		}
	}
}

func (p *post) got() ([]string, []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said, p.mail
}

// A message arrives over STARTTLS and over TLS, after signing in, whole and in one reading.
func TestMail(t *testing.T) {
	for _, security := range []string{StartTLS, TLS, NoTLS} {
		t.Run(security, func(t *testing.T) {
			p, roots := newPost(t, func(p *post) { p.implicit, p.noTLS, p.password = security == TLS, security == NoTLS, "hunter2" })
			m := &Mailer{Server: p.Addr().String(), Security: security, From: "sally@acme.example", Roots: roots, Clock: at}
			if security != NoTLS {
				m.User, m.Password = "sally", secret.NewText("hunter2")
			}
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := m.Send(ctx, notice(), "ana@acme.example"); err != nil {
				t.Fatal(err)
			}
			said, mails := p.got()
			if len(mails) != 1 || !strings.Contains(strings.Join(said, "\n"), "RCPT TO:<ana@acme.example>") {
				t.Fatalf("said %q, %d mails", said, len(mails))
			}
			got, err := mail.ReadMessage(strings.NewReader(mails[0]))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(quotedprintable.NewReader(got.Body))
			if err != nil || !strings.Contains(string(body), notice().Text) || !strings.Contains(string(body), notice().Link) {
				t.Errorf("body %q, %v", body, err)
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
			if err != nil || subject != "Sallyport: a sign-in to your account" || got.Header.Get("To") != "ana@acme.example" || got.Header.Get("Auto-Submitted") != "auto-generated" {
				t.Errorf("header %v", got.Header)
			}
		})
	}
}

// What cannot be protected is not sent: no TLS offered, a certificate of somebody else, a wrong password, a refusal.
func TestMailRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		server func(*post)
		client func(*Mailer)
	}{
		"no STARTTLS":              {func(p *post) { p.noTLS = true }, nil},
		"a stranger's certificate": {nil, func(m *Mailer) { m.Roots = nil }},
		"a wrong password":         {func(p *post) { p.password = "another" }, nil},
		"no sender":                {func(p *post) { p.refuse = "MAIL" }, nil},
		"nobody there":             {func(p *post) { p.refuse = "RCPT" }, nil},
		"no data":                  {func(p *post) { p.refuse = "DATA" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, roots := newPost(t, func(p *post) {
				if p.password = "hunter2"; test.server != nil {
					test.server(p)
				}
			})
			m := &Mailer{Server: p.Addr().String(), Security: StartTLS, From: "sally@acme.example", User: "sally", Password: secret.NewText("hunter2"), Roots: roots, Clock: at}
			if test.client != nil {
				test.client(m)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err := m.Send(ctx, notice(), "ana@acme.example")
			if err == nil || errors.Is(err, ErrNowhere) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v", err)
			}
			said, mails := p.got()
			if len(mails) != 0 {
				t.Errorf("sent %q", mails)
			}
			if name == "no STARTTLS" && strings.Contains(strings.Join(said, "\n"), "AUTH") {
				t.Errorf("the password went out without TLS: %q", said)
			}
		})
	}
}

// An address or a text can put nothing of its own into a message.
func TestMailInjection(t *testing.T) {
	m := &Mailer{Server: "127.0.0.1:1", Security: NoTLS, From: "sally@acme.example", Clock: at}
	for _, to := range []string{"", "ana", "ana@acme.example\r\nBcc: eve@example.net", "Ana <ana@acme.example>", "a b@acme.example", "<ana@acme.example>", strings.Repeat("a", 300) + "@x.example"} {
		if err := m.Send(t.Context(), notice(), to); !errors.Is(err, ErrNowhere) {
			t.Errorf("%q: %v", to, err)
		}
	}
	n := notice()
	n.Text, n.Kind = "x\r\n.\r\nMAIL FROM:<eve@example.net>", "signin\r\nBcc: eve@example.net"
	text, err := m.text(n, "ana@acme.example")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), "\r\n\r\n")
	if strings.Contains(head, "eve") || strings.Count(head, "\r\n") != 8 {
		t.Errorf("header %q", head)
	}
}

func TestMailIsStrict(t *testing.T) {
	good := Mailer{Server: "mail.example:587", Security: StartTLS, From: "sally@acme.example", User: "u", Password: secret.NewText("p")}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Mailer){
		"no port":             func(m *Mailer) { m.Server = "mail.example" },
		"no security":         func(m *Mailer) { m.Security = "" },
		"plain far away":      func(m *Mailer) { m.Security, m.User, m.Password = NoTLS, "", secret.Text{} },
		"plain with password": func(m *Mailer) { m.Security, m.Server = NoTLS, "127.0.0.1:25" },
		"no sender":           func(m *Mailer) { m.From = "" },
		"a sender with more":  func(m *Mailer) { m.From = "Sally <sally@acme.example>" },
		"no password":         func(m *Mailer) { m.Password = secret.Text{} },
		"no user":             func(m *Mailer) { m.User = "" },
	} {
		m := good
		change(&m)
		if m.Check() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"ana@acme.example", "a@b\r\nc", "\"x y\"@z", "<a@b>", "a@[127.0.0.1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := address(s); err == nil && (a != s || strings.ContainsAny(a, "\r\n<> ")) {
			t.Errorf("%q is read as %q", s, a)
		}
	})
}
