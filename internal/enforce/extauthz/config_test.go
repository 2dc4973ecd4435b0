package extauthz_test

import (
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/enforce/extauthz"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/plumbing/secret"
)

// TestNewRefuses what cannot be meant: nobody is registered by leaving something out.
func TestNewRefuses(t *testing.T) {
	up := upstreams(t, guardtest.New(t))
	good := extauthz.Proxy{Name: "edge", Token: secret.NewText(edge), Upstreams: []string{"hub"}}
	proxy := func(edit func(*extauthz.Proxy)) extauthz.Config {
		p := good
		edit(&p)
		return extauthz.Config{Upstreams: up, Proxies: []extauthz.Proxy{p}}
	}
	upstream := func(edit func(*extauthz.Upstream)) extauthz.Config {
		u := up[0]
		edit(&u)
		return extauthz.Config{Upstreams: []extauthz.Upstream{u}}
	}
	if _, err := extauthz.New(proxy(func(*extauthz.Proxy) {})); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]extauthz.Config{
		"no name":        proxy(func(p *extauthz.Proxy) { p.Name = "" }),
		"neither":        proxy(func(p *extauthz.Proxy) { p.Token = secret.Text{} }),
		"a short token":  proxy(func(p *extauthz.Proxy) { p.Token = secret.NewText("short") }),
		"nothing":        proxy(func(p *extauthz.Proxy) { p.Upstreams = nil }),
		"not there":      proxy(func(p *extauthz.Proxy) { p.Upstreams = []string{"none"} }),
		"empty san":      proxy(func(p *extauthz.Proxy) { p.SAN = []string{""} }),
		"same san":       proxy(func(p *extauthz.Proxy) { p.SAN = []string{"a.test", "a.test"} }),
		"same token":     {Upstreams: up, Proxies: []extauthz.Proxy{good, {Name: "other", Token: good.Token, Upstreams: good.Upstreams}}},
		"same name":      {Upstreams: up, Proxies: []extauthz.Proxy{good, {Name: "edge", Token: secret.NewText(lone), Upstreams: good.Upstreams}}},
		"long names":     proxy(func(p *extauthz.Proxy) { p.Name = strings.Repeat("e", 60) }),
		"twice":          {Upstreams: append(up[:len(up):len(up)], up[0])},
		"odd name":       upstream(func(u *extauthz.Upstream) { u.Name = "a/b" }),
		"no origin":      upstream(func(u *extauthz.Upstream) { u.Origin = "" }),
		"a path":         upstream(func(u *extauthz.Upstream) { u.Origin = "https://h.test/x" }),
		"another scheme": upstream(func(u *extauthz.Upstream) { u.Origin = "ftp://h.test" }),
		"an odd prefix":  upstream(func(u *extauthz.Upstream) { u.Prefix = "/hf/" }),
		"no dialect":     upstream(func(u *extauthz.Upstream) { u.Protocol = nil }),
		"no audience":    upstream(func(u *extauthz.Upstream) { u.Audience = "" }),
	} {
		_, err := extauthz.New(c)
		if sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), edge) {
			t.Errorf("%s: the error tells the token: %v", name, err)
		}
	}
}
