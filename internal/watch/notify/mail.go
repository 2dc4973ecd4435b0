package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/netip"
	"net/smtp"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// The ways to protect the connection to a mail server.
const (
	StartTLS = "starttls" // RFC 3207, refused where the server does not offer it
	TLS      = "tls"      // RFC 8314, from the first byte
	NoTLS    = "none"     // a server on loopback
)

// A Mailer sends notices by SMTP (RFC 5321).
type Mailer struct {
	Server   string // HOST:PORT
	Security string // StartTLS, TLS or NoTLS
	From     string // an address, alone
	User     string // "" signs in nowhere
	Password secret.Text
	Roots    *tls.Config // nil trusts what the machine trusts
	Clock    func() time.Time
}

// Check refuses what cannot be meant.
func (m *Mailer) Check() error {
	const op = "open mail"
	host, _, err := net.SplitHostPort(m.Server)
	if err != nil {
		return sallyport.E(op, sallyport.Invalid, "the mail server is not HOST:PORT", "")
	}
	if _, err := address(m.From); err != nil {
		return sallyport.E(op, sallyport.Invalid, "the sender is no address", "write NAME@DOMAIN")
	}
	switch m.Security {
	case StartTLS, TLS:
	case NoTLS:
		if !loopback(host) || m.User != "" {
			return sallyport.E(op, sallyport.Invalid, "mail without TLS is for a server on loopback, without a password", "use starttls or tls")
		}
	default:
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%q is no way to protect mail", sallyport.OneLine(m.Security)), "use starttls, tls, or none on loopback")
	}
	if (m.User == "") != m.Password.IsZero() {
		return sallyport.E(op, sallyport.Invalid, "user and password of the mail server go together", "")
	}
	return nil
}

// Name implements Channel.
func (m *Mailer) Name() string { return "mail" }

// Send implements Channel.
func (m *Mailer) Send(ctx context.Context, n Notice, to string) error {
	if to == "" {
		return ErrNowhere
	}
	to, err := address(to)
	if err != nil {
		return ErrNowhere
	}
	c, err := m.dial(ctx)
	if err != nil {
		return fmt.Errorf("reach the mail server: %w", err)
	}
	defer c.Close()
	if err := m.talk(c, n, to); err != nil {
		return fmt.Errorf("send mail: %w", err)
	}
	return nil
}

// dial connects; the deadline of ctx holds for all that is said.
func (m *Mailer) dial(ctx context.Context) (*smtp.Client, error) {
	host, _, err := net.SplitHostPort(m.Server)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.Server)
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(end)
	}
	if err == nil && m.Security == TLS {
		conn = tls.Client(conn, m.tls(host))
	}
	var c *smtp.Client
	if err == nil {
		c, err = smtp.NewClient(conn, host)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	if m.Security == StartTLS {
		err = errors.New("the server does not offer STARTTLS")
		if offered, _ := c.Extension("STARTTLS"); offered {
			err = c.StartTLS(m.tls(host))
		}
		if err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

func (m *Mailer) tls(host string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if m.Roots != nil {
		config = m.Roots.Clone()
	}
	config.ServerName = host
	return config
}

// talk says one message.
func (m *Mailer) talk(c *smtp.Client, n Notice, to string) error {
	if m.User != "" {
		host, _, _ := net.SplitHostPort(m.Server)
		if err := c.Auth(smtp.PlainAuth("", m.User, m.Password.Reveal(), host)); err != nil {
			return err
		}
	}
	if err := c.Mail(m.From); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	text, err := m.text(n, to)
	if err == nil {
		_, err = w.Write(text)
	}
	if err != nil {
		return err // without the last line nothing was sent
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// text is the message (RFC 5322): every header is of our own making or one word that was checked.
func (m *Mailer) text(n Notice, to string) ([]byte, error) {
	_, domain, _ := strings.Cut(m.From, "@")
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", m.From}, {"To", to}, {"Subject", mime.QEncoding.Encode("utf-8", "Sallyport: "+subject(n))},
		{"Date", m.Clock().UTC().Format(time.RFC1123Z)}, {"Message-ID", "<" + n.ID + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"}, {"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	q := quotedprintable.NewWriter(&b)
	fmt.Fprintf(q, "%s\r\n\r\nWhen: %s\r\nYour account: %s\r\n", n.Text, n.At.UTC().Format("2006-01-02 15:04:05 UTC"), n.Link)
	err := q.Close()
	return b.Bytes(), err
}

// subject is a few words that say nothing of what happened to whoever sees them on a locked screen.
func subject(n Notice) string {
	switch kind, _, _ := strings.Cut(n.Kind, "."); kind {
	case "signin":
		return "a sign-in to your account"
	case "factor", "recovery", "identity":
		return "a change of how you sign in"
	case "device":
		return "your devices"
	case "breakglass", "reported", "finding", "alert":
		return "something to look at"
	}
	return "about your account"
}

// address reads a bare address, of characters that need no quoting.
func address(s string) (string, error) {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Name != "" || a.Address != s || len(s) > 254 || strings.ContainsAny(s, "\r\n<>\" ") {
		return "", fmt.Errorf("%.40q is no address", s)
	}
	return a.Address, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
