package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport"
	"sallyport/internal/authz/facts"
	"sallyport/internal/plumbing/secret"
)

// A Config says how one server runs. Its zero values are the safe ones: an empty
// list serves nothing. Relative paths are relative to the configuration's file.
type Config struct {
	Listen   string `yaml:"listen"`   // address, "127.0.0.1:7443" by default
	External string `yaml:"external"` // URL that clients use; of Listen by default
	Data     string `yaml:"data"`     // directory of everything that is kept
	Store    string `yaml:"store"`    // "" = SQLite in Data; or postgres://…
	KeyFile  string `yaml:"key_file"` // key-encryption keys; outside Data
	// PassphraseFile holds the passphrase that seals KeyFile; "" = the file's mode protects it.
	PassphraseFile string `yaml:"passphrase_file"`
	// Plaintext serves HTTP without TLS. It is for loopback only and must be asked for.
	Plaintext bool   `yaml:"plaintext"`
	CertFile  string `yaml:"cert_file"` // a certificate of your own; "" = one of our own CA
	CertKey   string `yaml:"cert_key_file"`
	// Admin is the name of the first administrator, who gets the enrolment link at the first start.
	Admin string `yaml:"admin"`
	// Organisation is the first one, made at the first start; "home" by default. More are added later.
	Organisation string `yaml:"organisation"`
	// Policies is the directory of the first policy set; "" = the one that the program ships with.
	Policies string `yaml:"policies"`
	Log      string `yaml:"log"` // name of the audit log; "" = made from External
	// Approvals says how many people approve, and how.
	Approvals Approvals `yaml:"approvals"`
	// Tasks are the systems whose runs, jobs and tickets a grant can end with.
	Tasks []TaskConnector `yaml:"tasks"`
	// PolicyNeed is how many people approve a change of policy; 0 = as many as a grant.
	PolicyNeed int `yaml:"policy_approvals"`
	// PolicyApprovers is who they must be among: "1 of group:acme/security, 1 of group:acme/compliance"; "" = whoever may.
	PolicyApprovers string `yaml:"policy_approvers"`
	// SuccessorGrace is how long a service works on when who answered for it has left; "168h" by default.
	SuccessorGrace time.Duration `yaml:"successor_grace"`
	// Probation is what follows a hold that was lifted.
	Probation ProbationConfig `yaml:"probation"`
	SCIM      []SCIMSource    `yaml:"scim"`    // providers that keep people and groups here
	Signals   SignalsConfig   `yaml:"signals"` // with whom events about people are shared
	Upstreams []Upstream      `yaml:"upstreams"`
	Models    []ModelBinding  `yaml:"models"`
	// LogoutHosts are addresses, https://HOST[:PORT], of clients that are told when a session ends although they are not
	// on the public Internet.
	LogoutHosts []string `yaml:"logout_hosts"`
	// Devices says how devices are enrolled and which are believed.
	Devices Devices `yaml:"devices"`
	// ExtAuthz says which proxies may ask before they pass a request on.
	ExtAuthz ExtAuthz `yaml:"extauthz"`
	// Networks labels addresses for the policies, by CIDR: "192.0.2.0/24": office. The narrowest counts.
	Networks map[string]string `yaml:"networks"`
	// Separate are pairs of roles that one person may not have, by any account, group or inheritance.
	Separate [][2]string `yaml:"separate"`
	// Calendar says when the organisation works; without one no moment is within working hours.
	Calendar facts.Hours `yaml:"calendar"`
	Proving  `yaml:",inline"`
	// Workloads says where the keys of workloads' issuers may be fetched from, beside the public Internet.
	Workloads Workloads `yaml:"workloads"`

	// Federation are other people's identity providers.
	Federation []IdentityProvider `yaml:"federation"`
	// Admission are the clusters that ask what may be let in.
	Admission AdmissionConfig `yaml:"admission"`
	Risk      RiskConfig      `yaml:"risk"`
	Notify    NotifyConfig    `yaml:"notify"`
	// AuthZEN are the enforcement points elsewhere that ask for decisions.
	AuthZEN AuthZEN `yaml:"authzen"`
	// Respond changes what is done about a finding, by the name of its rule: all of its steps.
	Respond map[string][]string `yaml:"respond"`

	labels   facts.Networks
	calendar facts.Calendar
	file     string // where it was read from; "" = from nowhere
	text     []byte
}

// An Upstream is a model server that speaks the OpenAI dialect.
type Upstream struct {
	Name    string `yaml:"name"`
	URL     string `yaml:"url"`      // with its /v1
	KeyFile string `yaml:"key_file"` // holds the key that the upstream wants; "" = none
	// PlaintextBecause is why an upstream on another machine may be reached by http://; it is recorded at every start.
	PlaintextBecause string      `yaml:"plaintext_because"`
	TLS              UpstreamTLS `yaml:",inline"` // who it is, and as whom it is called

	key secret.Text
}

// A ModelBinding says which upstream serves a model, and as what.
type ModelBinding struct {
	Model    string `yaml:"model"`    // "acme/fraud"
	Upstream string `yaml:"upstream"` // name of an upstream
	Name     string `yaml:"name"`     // the upstream's name for the model
}

// maxGrace bounds how long anything may work without somebody who answers for it.
const maxGrace = 90 * 24 * time.Hour

// maxConfig bounds a configuration file.
const maxConfig = 1 << 20

// LoadConfig reads a YAML file, strictly: unknown and doubled keys are errors.
func LoadConfig(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, sallyport.Wrap("read configuration", sallyport.Invalid, fmt.Sprintf("the file %s cannot be opened", path), err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil || len(raw) > maxConfig {
		return Config{}, sallyport.Wrap("read configuration", sallyport.Invalid, fmt.Sprintf("the file %s cannot be read or is over 1 MiB", path), err)
	}
	c, err := ParseConfig(raw)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	c.file, c.text = configFile(path), raw
	return c.below(filepath.Dir(path)), nil
}

// ParseConfig reads YAML.
func ParseConfig(raw []byte) (Config, error) {
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	var c Config
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, sallyport.E("read configuration", sallyport.Invalid, err.Error(), "see examples/ for configurations that run")
	}
	if err := dec.Decode(new(Config)); !errors.Is(err, io.EOF) {
		return Config{}, sallyport.E("read configuration", sallyport.Invalid, "more than one document", "keep one")
	}
	return c, nil
}

// below makes relative paths relative to dir.
func (c Config) below(dir string) Config {
	for _, p := range []*string{&c.Data, &c.KeyFile, &c.PassphraseFile, &c.CertFile, &c.CertKey, &c.Policies, &c.Devices.EKRoots, &c.Approvals.Approvers} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for i := range c.Tasks {
		for _, p := range []*string{&c.Tasks[i].TokenFile, &c.Tasks[i].CAFile, &c.Tasks[i].KeyFile} {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(dir, *p)
			}
		}
	}
	for _, p := range c.Proving.files() {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for _, p := range []*string{&c.Notify.Webhook.KeyFile, &c.Notify.Mail.PasswordFile, &c.Notify.Mail.CAFile} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	c.Risk.Places = append([]string{}, c.Risk.Places...)
	for i, p := range c.Risk.Places {
		if !filepath.IsAbs(p) {
			c.Risk.Places[i] = filepath.Join(dir, p)
		}
	}
	c.Federation = providersBelow(c.Federation, dir)
	c.Signals = c.Signals.below(dir)
	c.AuthZEN = c.AuthZEN.below(dir)
	c.Workloads = c.Workloads.below(dir)
	c.ExtAuthz = c.ExtAuthz.below(dir)
	c.Upstreams = append([]Upstream{}, c.Upstreams...)
	for i := range c.Upstreams {
		for _, p := range append(c.Upstreams[i].TLS.files(), &c.Upstreams[i].KeyFile) {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(dir, *p)
			}
		}
	}
	return c
}

// check fills in what follows from the rest and refuses what cannot be meant.
func (c Config) check() (Config, error) {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:7443"
	}
	if c.Organisation == "" {
		c.Organisation = "home"
	}
	for _, check := range []func() error{
		c.checkFiles, c.Proving.check, c.checkListen, c.checkOrganisation,
		c.Approvals.check, c.checkPolicies, c.checkSources, c.Risk.check, c.ExtAuthz.check,
		func() error { return checkProviders(c.Federation) },
		func() error { _, err := c.Admission.clusters(); return err },
		func() error { return checkSeparate(c.Separate) },
		func() error { _, err := c.AuthZEN.points(); return err },
		c.AuthZEN.checkAsked, c.checkModels,
	} {
		if err := check(); err != nil {
			return c, err
		}
	}
	var err error
	if c.labels, err = facts.ParseNetworks(c.Networks); err != nil {
		return c, err
	}
	c.calendar, err = facts.ParseCalendar(c.Calendar)
	return c, err
}

func (c *Config) checkFiles() error {
	if c.Data == "" || c.KeyFile == "" {
		return sallyport.E("configuration", sallyport.Invalid, "\"data\" and \"key_file\" must be set", "keep the key file outside the data directory, best on another volume")
	}
	if (c.CertFile == "") != (c.CertKey == "") {
		return sallyport.E("configuration", sallyport.Invalid, "\"cert_file\" and \"cert_key_file\" go together", "")
	}
	return nil
}

func (c *Config) checkListen() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return sallyport.Wrap("configuration", sallyport.Invalid, "\"listen\" is not HOST:PORT", err)
	}
	if c.Plaintext && !loopback(host) {
		return sallyport.E("configuration", sallyport.Invalid, "plaintext is for loopback only", "listen on 127.0.0.1, or leave \"plaintext\" out")
	}
	return nil
}

func (c *Config) checkOrganisation() error {
	if c.SuccessorGrace < 0 || c.SuccessorGrace > maxGrace {
		return sallyport.E("configuration", sallyport.Invalid, "\"successor_grace\" is not within 0 to 90 days", "write a duration such as 168h")
	}
	if err := c.Probation.check(); err != nil {
		return err
	}
	return sallyport.CheckName("configuration", c.Organisation)
}

// at fills in what follows from the address that the server got.
func (c Config) at(address string) (Config, error) {
	if c.External == "" {
		if host, _, err := net.SplitHostPort(c.Listen); err == nil && host == "localhost" { // a name, which passkeys need
			if _, port, err := net.SplitHostPort(address); err == nil {
				address = net.JoinHostPort(host, port)
			}
		}
		c.External = c.scheme() + "://" + address
	}
	u, err := url.Parse(c.External)
	if err != nil || u.Scheme != c.scheme() || u.Host == "" || u.Path != "" || u.RawQuery != "" {
		return c, sallyport.E("configuration", sallyport.Invalid, "\"external\" must be "+c.scheme()+"://HOST[:PORT] without a path", "")
	}
	if c.Log == "" {
		c.Log = "sallyport/" + strings.ReplaceAll(u.Host, ":", "/")
	}
	return c, nil
}

func (c Config) scheme() string {
	if c.Plaintext {
		return "http"
	}
	return "https"
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func (c *Config) checkModels() error {
	names := map[string]bool{}
	for _, u := range c.Upstreams {
		p, err := url.Parse(u.URL)
		if err != nil || p.Scheme != "http" && p.Scheme != "https" || p.Host == "" || p.User != nil {
			return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the upstream %q has no http(s) URL without credentials", u.Name), "write its URL with /v1, and its key into a file")
		}
		if p.Scheme == "http" && !loopback(p.Hostname()) && u.PlaintextBecause == "" {
			return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the upstream %q would be reached over a network in plaintext", u.Name),
				"write https://, or say why not in \"plaintext_because\", which is recorded")
		}
		if p.Scheme == "https" && u.PlaintextBecause != "" {
			return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the upstream %q is encrypted and gives a reason for plaintext", u.Name), "remove \"plaintext_because\"")
		}
		if err := u.TLS.check(u.Name, p.Scheme); err != nil {
			return err
		}
		if u.Name == "" || names[u.Name] {
			return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the upstream name %q is empty or doubled", u.Name), "")
		}
		names[u.Name] = true
	}
	for _, m := range c.Models {
		if !names[m.Upstream] {
			return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the model %s names the upstream %q, which is not there", m.Model, m.Upstream), "add it to \"upstreams\"")
		}
	}
	return nil
}

// readSecret reads a file that holds one secret, without the line break behind it.
func readSecret(path string) (secret.Text, error) {
	if path == "" {
		return secret.Text{}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return secret.Text{}, sallyport.Wrap("read secret", sallyport.Invalid, fmt.Sprintf("the file %s cannot be opened", path), err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, 4097))
	if err != nil || len(raw) > 4096 {
		return secret.Text{}, sallyport.Wrap("read secret", sallyport.Invalid, fmt.Sprintf("the file %s cannot be read or is over 4 KiB", path), err)
	}
	return secret.NewText(strings.TrimRight(string(raw), "\r\n")), nil
}
