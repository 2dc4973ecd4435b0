// Package ldap owns the conversation with an LDAP directory or Active Directory (RFC 4511, RFC 4513, RFC 4515): a person's
// password proved by a bind, their groups, and who is still there.
//
// There is no word without TLS: ldaps, or ldap with StartTLS before anything else, by a pinned authority or the system's. A
// service account searches; a person's own bind, on a connection of its own, is the proof. Two entries of one name are nobody,
// a referral is followed nowhere.
//
// It leaves to federation what groups mean here, to signin how often somebody may guess.
package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"sallyport"
	"sallyport/internal/identity/federation"
	"sallyport/internal/plumbing/secret"
)

const (
	maxName     = 256
	maxPassword = 1024
	batch       = 50 // subjects asked for in one search
	maxGroups   = 512
)

// A Config says where the directory is and how people are found in it.
type Config struct {
	Name     string         // the provider's short name
	Title    string         // for messages
	URL      string         // ldaps://HOST[:PORT], or ldap://HOST[:PORT], which begins with StartTLS
	Roots    *x509.CertPool // nil for the system's
	BindDN   string         // the service account; it needs to read
	Password secret.Text
	Base     string // where people are
	Filter   string // finds one by the name that they type, which stands for {}: "(uid={})"
	Active   string // holds for accounts that may sign in; "" for all
	ID       string // attribute that never changes and is never used again: "entryUUID", "objectGUID"
	BinaryID bool   // it is no text: "objectGUID"
	// Attributes become claims of the same names.
	Attributes []string
	// Groups are searched for under GroupBase by GroupFilter, where {} stands for the person's DN: "(member={})". Their
	// GroupName becomes the claim "groups". Empty: there is no such search; "memberOf" may stand among Attributes.
	GroupBase   string
	GroupFilter string
	GroupName   string        // "cn" by default
	Timeout     time.Duration // of each step; 5 s by default
	Pool        int           // connections of the service account; 4 by default
}

// A Directory is one LDAP server. It is safe for concurrent use.
type Directory struct {
	config  Config
	address *url.URL
	tls     *tls.Config
	idle    chan *ldap.Conn
	slots   chan struct{}
}

// New makes a directory. It calls nobody yet.
func New(c Config) (*Directory, error) {
	u, err := c.check()
	if err != nil {
		return nil, err
	}
	if c.GroupName == "" {
		c.GroupName = "cn"
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Pool <= 0 {
		c.Pool = 4
	}
	return &Directory{config: c, address: u, tls: &tls.Config{ServerName: u.Hostname(), RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
		idle: make(chan *ldap.Conn, c.Pool), slots: make(chan struct{}, c.Pool)}, nil
}

func (c Config) check() (*url.URL, error) {
	bad := func(message, hint string) error {
		return sallyport.E("ldap provider", sallyport.Invalid, message, hint)
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "ldap" && u.Scheme != "ldaps" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, bad(fmt.Sprintf("the url %.200q is not ldaps://HOST or ldap://HOST", c.URL), "leave base and filter to their own settings")
	}
	if c.BindDN == "" || c.Password.IsZero() {
		return nil, bad("no service account is set", "set bind_dn and bind_password_file; an anonymous search is not made")
	}
	if c.Base == "" || c.ID == "" || c.Name == "" {
		return nil, bad("base and id attribute are needed", "the id must never be used again: entryUUID, or objectGUID with id_binary")
	}
	for what, f := range map[string]string{"filter": c.Filter, "group_filter": c.GroupFilter} {
		if f == "" && what == "group_filter" && c.GroupBase == "" {
			continue
		}
		if strings.Count(f, "{}") != 1 {
			return nil, bad(fmt.Sprintf("%s %.200q has not one {}", what, f), "write (uid={}) or (member={})")
		}
		if _, err := ldap.CompileFilter(strings.Replace(f, "{}", "x", 1)); err != nil {
			return nil, bad(fmt.Sprintf("%s %.200q is no filter of RFC 4515", what, f), "")
		}
	}
	if _, err := ldap.CompileFilter(c.Active); c.Active != "" && err != nil {
		return nil, bad(fmt.Sprintf("active %.200q is no filter of RFC 4515", c.Active), "")
	}
	return u, nil
}

// Issuer is the first half of the identities of a directory.
func Issuer(name string) string { return "ldap:" + name }

// Check proves a name and a password, by a bind of the person's own. Whoever is unknown, disabled, there twice or has another
// password gets one answer, after the same work.
func (d *Directory) Check(ctx context.Context, name string, password secret.Text) (federation.Assertion, error) {
	if name == "" || len(name) > maxName || strings.ContainsRune(name, 0) || password.IsZero() || password.Len() > maxPassword {
		return federation.Assertion{}, wrong(errors.New("an empty or overlong name or password")) // an empty one would be an anonymous bind: it succeeds
	}
	entry, err := d.find(ctx, name)
	if err != nil && sallyport.KindOf(err) != sallyport.Unknown {
		return federation.Assertion{}, err
	}
	dn := "cn=nobody," + d.config.Base
	if err == nil {
		dn = entry.DN
	}
	if bound := d.bind(ctx, dn, password); bound != nil {
		return federation.Assertion{}, bound
	}
	if err != nil {
		return federation.Assertion{}, err
	}
	return d.assertion(ctx, entry)
}

// find returns the one active entry of a name.
func (d *Directory) find(ctx context.Context, name string) (*ldap.Entry, error) {
	filter := strings.Replace(d.config.Filter, "{}", ldap.EscapeFilter(name), 1)
	found, err := d.search(ctx, d.config.Base, d.active(filter), d.attributes(), 2)
	if ldap.IsErrorWithCode(errors.Unwrap(err), ldap.LDAPResultSizeLimitExceeded) {
		return nil, wrong(err) // more than two
	}
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, wrong(fmt.Errorf("%d entries", len(found)))
	}
	return found[0], nil
}

func (d *Directory) active(filter string) string {
	if d.config.Active == "" {
		return filter
	}
	return "(&" + filter + d.config.Active + ")"
}

func (d *Directory) attributes() []string {
	return append([]string{d.config.ID}, d.config.Attributes...)
}

// bind proves a password on a connection of its own.
func (d *Directory) bind(ctx context.Context, dn string, password secret.Text) error {
	conn, err := d.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = conn.Bind(dn, password.Reveal())
	switch {
	case err == nil:
		return nil
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax,
		ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultConstraintViolation, ldap.LDAPResultReferral):
		return wrong(err)
	}
	return d.down(err)
}

func (d *Directory) assertion(ctx context.Context, e *ldap.Entry) (federation.Assertion, error) {
	subject, err := d.subject(e)
	if err != nil {
		return federation.Assertion{}, err
	}
	a := federation.Assertion{Issuer: Issuer(d.config.Name), Subject: subject, AMR: []string{"pwd"}, Claims: federation.Claims{}}
	for _, name := range d.config.Attributes {
		if values := e.GetEqualFoldAttributeValues(name); len(values) > 0 {
			a.Claims[name] = values
		}
	}
	if d.config.GroupBase == "" {
		return a, nil
	}
	filter := strings.Replace(d.config.GroupFilter, "{}", ldap.EscapeFilter(e.DN), 1)
	groups, err := d.search(ctx, d.config.GroupBase, filter, []string{d.config.GroupName}, maxGroups)
	for _, g := range groups {
		a.Claims["groups"] = append(a.Claims["groups"], g.GetEqualFoldAttributeValues(d.config.GroupName)...)
	}
	return a, err
}

func (d *Directory) subject(e *ldap.Entry) (string, error) {
	raw := e.GetEqualFoldRawAttributeValues(d.config.ID)
	if len(raw) != 1 || len(raw[0]) == 0 {
		return "", sallyport.E("sign in", sallyport.Unavailable, "an entry has no single "+d.config.ID, "let the service account read it").Because(federation.ReasonDown)
	}
	if d.config.BinaryID {
		return hex.EncodeToString(raw[0]), nil
	}
	return string(raw[0]), nil
}

// Lookup returns those of some subjects who are there and active. An answer that may not be whole is an error: whoever is
// missing in it is taken for a leaver.
func (d *Directory) Lookup(ctx context.Context, subjects []string) (map[string]federation.Assertion, error) {
	there := map[string]federation.Assertion{}
	for part := range slices.Chunk(subjects, batch) {
		var any strings.Builder
		for _, s := range part {
			any.WriteString("(" + d.config.ID + "=" + d.escapeID(s) + ")")
		}
		found, err := d.search(ctx, d.config.Base, d.active("(|"+any.String()+")"), d.attributes(), 2*batch)
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			a, err := d.assertion(ctx, e)
			if err != nil {
				return nil, err
			}
			there[a.Subject] = a
		}
	}
	return there, nil
}

func (d *Directory) escapeID(subject string) string {
	raw, err := hex.DecodeString(subject)
	if !d.config.BinaryID || err != nil {
		return ldap.EscapeFilter(subject)
	}
	var b strings.Builder
	for _, c := range raw {
		fmt.Fprintf(&b, `\%02x`, c)
	}
	return b.String()
}

// Test reports how the directory answers the service account.
func (d *Directory) Test(ctx context.Context) ([]string, error) {
	found, err := d.search(ctx, d.config.Base, d.active(strings.Replace(d.config.Filter, "{}", "*", 1)), []string{d.config.ID}, 1)
	if err != nil && !ldap.IsErrorWithCode(errors.Unwrap(err), ldap.LDAPResultSizeLimitExceeded) {
		return nil, err
	}
	lines := []string{"server " + d.address.Host + " over TLS", "service account " + d.config.BindDN}
	if len(found) == 0 && err == nil {
		return lines, sallyport.E("ldap provider", sallyport.NotFound, "the filter finds nobody under the base", "check base, filter and active, and what the service account may read")
	}
	return append(lines, "people under "+d.config.Base), nil
}

// search runs one search on a pooled connection. Nothing is followed; a list that is cut is an error.
func (d *Directory) search(ctx context.Context, base, filter string, attributes []string, most int) ([]*ldap.Entry, error) {
	conn, err := d.get(ctx)
	if err != nil {
		return nil, err
	}
	seconds := max(1, int(d.config.Timeout/time.Second))
	answer, err := conn.Search(ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, most, seconds, false, filter, attributes, nil))
	d.put(conn, err)
	if err != nil {
		return nil, d.down(err)
	}
	if len(answer.Referrals) > 0 {
		return nil, d.down(errors.New("the answer refers to another server"))
	}
	return answer.Entries, nil
}

// get returns a connection of the service account, an idle one where there is one.
func (d *Directory) get(ctx context.Context) (*ldap.Conn, error) {
	wait := time.NewTimer(d.config.Timeout)
	defer wait.Stop()
	select {
	case d.slots <- struct{}{}:
	case <-wait.C:
		return nil, d.down(errors.New("all connections are in use"))
	case <-ctx.Done():
		return nil, d.down(ctx.Err())
	}
	for {
		select {
		case conn := <-d.idle:
			if !conn.IsClosing() {
				return conn, nil
			}
			conn.Close()
			continue
		default:
		}
		conn, err := d.dial(ctx)
		if err == nil {
			if err = conn.Bind(d.config.BindDN, d.config.Password.Reveal()); err == nil {
				return conn, nil
			}
			conn.Close()
			err = d.down(fmt.Errorf("service account: %w", err))
		}
		<-d.slots
		return nil, err
	}
}

// put takes a connection back. One on which anything went wrong is closed: an answer may still be under way on it.
func (d *Directory) put(conn *ldap.Conn, err error) {
	if err == nil {
		d.idle <- conn // never blocks: there are as many slots
	} else {
		conn.Close()
	}
	<-d.slots
}

// dial connects, over TLS before any other word, within one timeout for all of it.
func (d *Directory) dial(ctx context.Context) (*ldap.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.config.Timeout)
	defer cancel()
	port := d.address.Port()
	if port == "" {
		port = map[string]string{"ldap": "389", "ldaps": "636"}[d.address.Scheme]
	}
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(d.address.Hostname(), port))
	if err != nil {
		return nil, d.down(err)
	}
	end, _ := ctx.Deadline()
	_ = raw.SetDeadline(end) // of the handshake too, which the library lets last
	conn, err := d.secure(ctx, raw)
	if err != nil {
		raw.Close()
		return nil, d.down(err)
	}
	_ = raw.SetDeadline(time.Time{})
	return conn, nil
}

func (d *Directory) secure(ctx context.Context, raw net.Conn) (*ldap.Conn, error) {
	if d.address.Scheme == "ldaps" {
		safe := tls.Client(raw, d.tls)
		if err := safe.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn := ldap.NewConn(safe, true)
		conn.SetTimeout(d.config.Timeout)
		conn.Start()
		return conn, nil
	}
	conn := ldap.NewConn(raw, false)
	conn.SetTimeout(d.config.Timeout)
	conn.Start()
	if err := conn.StartTLS(d.tls); err != nil {
		conn.Close()
		return nil, fmt.Errorf("StartTLS: %w", err)
	}
	return conn, nil
}

// Close ends idle connections.
func (d *Directory) Close() error {
	for {
		select {
		case conn := <-d.idle:
			conn.Close()
		default:
			return nil
		}
	}
}

func (d *Directory) down(err error) error {
	e := sallyport.Wrap("sign in", sallyport.Unavailable, d.config.Title+" cannot be reached at this moment", err)
	e.Hint = "try again later, or sign in another way"
	return e.Because(federation.ReasonDown)
}

func wrong(cause error) error {
	e := sallyport.Wrap("sign in", sallyport.Unknown, "the user name or the password is wrong", cause)
	e.Hint = "try again"
	return e.Because(federation.ReasonRefused)
}
