package server

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/identity/federation"
	"sallyport/internal/identity/federation/ldap"
	"sallyport/internal/identity/federation/saml"
)

// mostProviders bounds the buttons on the sign-in page.
const mostProviders = 16

// An IdentityProvider is one entry of "federation": somebody else who proves people, how they are spoken to, and what their
// word is taken for.
type IdentityProvider struct {
	Name  string `yaml:"name"`  // short, part of addresses
	Title string `yaml:"title"` // on the button; Name by default
	Kind  string `yaml:"kind"`  // oidc, saml or ldap

	OIDC OIDCProvider `yaml:"oidc"`
	SAML SAMLProvider `yaml:"saml"`
	LDAP LDAPProvider `yaml:"ldap"`

	Claims ClaimNames        `yaml:"claims"`
	Map    []GroupMapping    `yaml:"map"`
	Only   []ClaimCondition  `yaml:"only"` // who may sign in at all; empty: every member
	ACR    map[string]string `yaml:"acr"`  // authentication context class: aal1, aal2, phr or aal3
	AMR    []MethodMapping   `yaml:"amr"`
	MaxAge time.Duration     `yaml:"max_age"`
	// Domains are those whose addresses the provider gives out: a verified address there finds a member.
	Domains []string     `yaml:"domains"`
	Join    *JoinSetting `yaml:"join"` // makes members of people whom nobody here knows
}

// An OIDCProvider is spoken to by OpenID Connect.
type OIDCProvider struct {
	Issuer       string   `yaml:"issuer"`
	Client       string   `yaml:"client_id"`
	SecretFile   string   `yaml:"client_secret_file"`
	KeyFile      string   `yaml:"client_key_file"` // PEM, PKCS #8: private_key_jwt
	KeyID        string   `yaml:"client_key_id"`
	Scopes       []string `yaml:"scopes"` // beside openid
	AskACR       []string `yaml:"acr_values"`
	UserInfo     bool     `yaml:"userinfo"`
	AuthorityPEM string   `yaml:"ca_file"`
	// Hosts are HOST:PORT that its documents may name beside the issuer's: private addresses need to be here.
	Hosts []string `yaml:"hosts"`
}

// A SAMLProvider is spoken to by SAML 2.0.
type SAMLProvider struct {
	MetadataFile string   `yaml:"metadata_file"` // gives the next three
	Entity       string   `yaml:"entity"`
	SSO          string   `yaml:"sso_url"`
	Certificates []string `yaml:"certificate_files"` // PEM, pinned
	NameID       string   `yaml:"name_id"`
}

// An LDAPProvider is an LDAP directory.
type LDAPProvider struct {
	URL          string        `yaml:"url"`
	AuthorityPEM string        `yaml:"ca_file"`
	BindDN       string        `yaml:"bind_dn"`
	PasswordFile string        `yaml:"bind_password_file"`
	Base         string        `yaml:"base"`
	Filter       string        `yaml:"filter"` // with {} for the name
	Active       string        `yaml:"active"` // filter of accounts that may sign in
	ID           string        `yaml:"id"`     // entryUUID by default
	BinaryID     bool          `yaml:"id_binary"`
	Attributes   []string      `yaml:"attributes"`
	GroupBase    string        `yaml:"group_base"`
	GroupFilter  string        `yaml:"group_filter"`
	GroupName    string        `yaml:"group_name"`
	Timeout      time.Duration `yaml:"timeout"`
	Poll         time.Duration `yaml:"poll"` // how often leavers and movers are looked for; 0 never
}

// ClaimNames say which claims hold what.
type ClaimNames struct {
	Name     string `yaml:"name"`
	Display  string `yaml:"display"`
	Email    string `yaml:"email"`
	Verified string `yaml:"verified"`
}

// A ClaimCondition holds where a claim has a value.
type ClaimCondition struct {
	Claim string `yaml:"claim"`
	Is    string `yaml:"is"`
}

// A GroupMapping gives groups to whom its condition holds for.
type GroupMapping struct {
	ClaimCondition `yaml:",inline"`
	Groups         []string `yaml:"groups"`
}

// A MethodMapping gives a level to whoever used all of some methods.
type MethodMapping struct {
	All   []string `yaml:"all"`
	Level string   `yaml:"level"`
}

// A JoinSetting says where new members belong.
type JoinSetting struct {
	Organisation string   `yaml:"organisation"`
	Groups       []string `yaml:"groups"`
}

// files are the paths that are relative to the configuration's file.
func (p *IdentityProvider) files() []*string {
	all := []*string{&p.OIDC.SecretFile, &p.OIDC.KeyFile, &p.OIDC.AuthorityPEM, &p.SAML.MetadataFile, &p.LDAP.AuthorityPEM, &p.LDAP.PasswordFile}
	p.SAML.Certificates = slices.Clone(p.SAML.Certificates)
	for i := range p.SAML.Certificates {
		all = append(all, &p.SAML.Certificates[i])
	}
	return all
}

func providersBelow(all []IdentityProvider, dir string) []IdentityProvider {
	all = slices.Clone(all)
	for i := range all {
		for _, f := range all[i].files() {
			if *f != "" && !filepath.IsAbs(*f) {
				*f = filepath.Join(dir, *f)
			}
		}
	}
	return all
}

// checkProviders refuses what cannot be meant. What needs files is checked when they are opened.
func checkProviders(all []IdentityProvider) error {
	const op = "configuration"
	if len(all) > mostProviders {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("\"federation\" has more than %d providers", mostProviders), "")
	}
	seen := map[string]bool{}
	for _, p := range all {
		if err := sallyport.CheckName(op, p.Name); err != nil {
			return err
		}
		key := p.issuer()
		if seen[p.Name] || seen[key] || key == "" {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the identity provider %q or its issuer is there twice, or has no issuer", p.Name), "two providers of one issuer could speak for each other's people")
		}
		seen[p.Name], seen[key] = true, true
		if p.LDAP.Poll < 0 || p.LDAP.Poll > 0 && p.LDAP.Poll < time.Second {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the poll of %s is under a second", p.Name), "5m is usual")
		}
		rules, err := p.rules()
		if err == nil {
			err = rules.Check("configuration of " + p.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// issuer is the first half of the identities of a provider, "" where it is not known before files are read.
func (p IdentityProvider) issuer() string {
	switch federation.Kind(p.Kind) {
	case federation.OIDC:
		return p.OIDC.Issuer
	case federation.SAML:
		if p.SAML.Entity == "" && p.SAML.MetadataFile != "" {
			return "file:" + p.SAML.MetadataFile // compared again when it is read
		}
		return saml.Issuer(p.SAML.Entity)
	case federation.LDAP:
		return ldap.Issuer(p.Name)
	}
	return ""
}

func (p IdentityProvider) rules() (federation.Rules, error) {
	r := federation.Rules{Fields: federation.Fields(p.Claims), MaxAge: p.MaxAge, Domains: p.Domains, ACR: map[string]sallyport.Assurance{}}
	for _, g := range p.Map {
		r.Groups = append(r.Groups, federation.GroupRule{Condition: federation.Condition(g.ClaimCondition), Groups: g.Groups})
	}
	for _, c := range p.Only {
		r.Only = append(r.Only, federation.Condition(c))
	}
	for class, name := range p.ACR {
		level, err := sallyport.ParseAssurance(name)
		if err != nil {
			return r, err
		}
		r.ACR[class] = level
	}
	for _, m := range p.AMR {
		level, err := sallyport.ParseAssurance(m.Level)
		if err != nil {
			return r, err
		}
		r.AMR = append(r.AMR, federation.MethodRule{All: m.All, Level: level})
	}
	if p.Join != nil {
		r.Join = &federation.Join{Organisation: p.Join.Organisation, Groups: p.Join.Groups}
	}
	return r, nil
}

// hosts are where an OpenID Connect provider may be called: at its issuer and what is listed.
func (o OIDCProvider) hosts() ([]*url.URL, error) {
	u, err := url.Parse(o.Issuer)
	if err != nil {
		return nil, err
	}
	all := []*url.URL{u}
	for _, h := range o.Hosts {
		one, err := url.Parse(u.Scheme + "://" + h)
		if err != nil || one.Host != h || h == "" {
			return nil, sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("%.200q is no HOST:PORT", h), "")
		}
		all = append(all, one)
	}
	return all, nil
}
