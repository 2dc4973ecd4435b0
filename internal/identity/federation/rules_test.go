package federation_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/federation"
)

var now = time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)

func rules() federation.Rules {
	return federation.Rules{
		Fields: federation.Fields{Name: "preferred_username", Display: "name", Email: "email", Verified: "email_verified"},
		Groups: []federation.GroupRule{
			{Condition: federation.Condition{Claim: "groups", Is: "/ml"}, Groups: []string{"acme/engineers", "acme/staff"}},
			{Condition: federation.Condition{Claim: "groups", Is: "/risk"}, Groups: []string{"acme/risk"}},
			{Condition: federation.Condition{Claim: "department", Is: "research"}, Groups: []string{"acme/staff"}},
		},
		ACR:     map[string]sallyport.Assurance{"gold": sallyport.PhishingResistant, "silver": sallyport.MultiFactor},
		AMR:     []federation.MethodRule{{All: []string{"pwd", "otp"}, Level: sallyport.MultiFactor}, {All: []string{"hwk"}, Level: sallyport.Hardware}},
		Domains: []string{"acme.example"},
		Join:    &federation.Join{Organisation: "acme"},
	}
}

func assertion(claims federation.Claims) federation.Assertion {
	return federation.Assertion{Issuer: "https://idp", Subject: "u-1", Claims: claims, AuthTime: now.Add(-time.Hour)}
}

func TestRules(t *testing.T) {
	p, err := rules().Read(assertion(federation.Claims{"groups": {"/ml", "/unknown"}, "department": {"research"}, "preferred_username": {"Ana@acme.example"}, "name": {"Ana Lima"},
		"email": {"Ana@ACME.example"}, "email_verified": {"true"}}), "corp", now)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "ana" || p.Display != "Ana Lima" || !p.Trusted || !slices.Equal(p.Groups, []string{"acme/engineers", "acme/staff"}) || p.Provider != "corp" || !p.AuthTime.Equal(now.Add(-time.Hour)) ||
		p.Assurance != sallyport.SingleFactor || !slices.Equal(p.Methods, []string{"fed"}) {
		t.Errorf("%+v", p)
	}
	if got := rules().Managed(); !slices.Equal(got, []string{"acme/engineers", "acme/risk", "acme/staff"}) {
		t.Errorf("managed %v", got)
	}
}

// Nothing that no rule names counts above aal1, and only methods that a rule needed are taken over.
func TestLevels(t *testing.T) {
	for name, c := range map[string]struct {
		acr     string
		amr     []string
		level   sallyport.Assurance
		methods string
	}{
		"nothing":          {"", nil, sallyport.SingleFactor, "fed"},
		"unmapped":         {"platinum", []string{"mfa", "face", "sc"}, sallyport.SingleFactor, "fed"},
		"half a rule":      {"", []string{"otp"}, sallyport.SingleFactor, "fed"},
		"two methods":      {"", []string{"otp", "pwd", "geo"}, sallyport.MultiFactor, "fed pwd otp"},
		"class":            {"silver", nil, sallyport.MultiFactor, "fed"},
		"the higher":       {"silver", []string{"hwk"}, sallyport.Hardware, "fed hwk"},
		"the higher again": {"gold", []string{"pwd", "otp"}, sallyport.PhishingResistant, "fed pwd otp"},
		"case counts":      {"Gold", []string{"HWK"}, sallyport.SingleFactor, "fed"},
	} {
		a := assertion(nil)
		a.ACR, a.AMR = c.acr, c.amr
		p, err := rules().Read(a, "corp", now)
		if err != nil || p.Assurance != c.level || strings.Join(p.Methods, " ") != c.methods {
			t.Errorf("%s: %v %v, %v", name, p.Assurance, p.Methods, err)
		}
	}
}

// FED3, the rule's half: an address is trusted only from who is authoritative for its domain, and only verified.
func TestFED3TrustedAddresses(t *testing.T) {
	for name, c := range map[string]struct {
		email, verified []string
		domains         []string
		trusted         bool
	}{
		"ours":              {[]string{"ana@acme.example"}, []string{"true"}, []string{"acme.example"}, true},
		"not authoritative": {[]string{"ana@other.example"}, []string{"true"}, []string{"acme.example"}, false},
		"not verified":      {[]string{"ana@acme.example"}, []string{"false"}, []string{"acme.example"}, false},
		"verified unsaid":   {[]string{"ana@acme.example"}, nil, []string{"acme.example"}, false},
		"verified oddly":    {[]string{"ana@acme.example"}, []string{"TRUE"}, []string{"acme.example"}, false},
		"verified twice":    {[]string{"ana@acme.example"}, []string{"true", "true"}, []string{"acme.example"}, false},
		"no domains":        {[]string{"ana@acme.example"}, []string{"true"}, nil, false},
		"subdomain":         {[]string{"ana@x.acme.example"}, []string{"true"}, []string{"acme.example"}, false},
		"two at":            {[]string{"ana@acme.example@other.example"}, []string{"true"}, []string{"acme.example"}, false},
		"two addresses":     {[]string{"ana@acme.example", "bo@acme.example"}, []string{"true"}, []string{"acme.example"}, false},
		"none":              {nil, []string{"true"}, []string{"acme.example"}, false},
	} {
		r := rules()
		r.Domains = c.domains
		p, err := r.Read(assertion(federation.Claims{"email": c.email, "email_verified": c.verified}), "corp", now)
		if err != nil || p.Trusted != c.trusted {
			t.Errorf("%s: %v, %v", name, p.Trusted, err)
		}
	}
}

func TestOnlyAndAge(t *testing.T) {
	r := rules()
	r.Only = []federation.Condition{{Claim: "groups", Is: "/ml"}}
	_, err := r.Read(assertion(federation.Claims{"groups": {"/risk"}}), "corp", now)
	want(t, "outside", err, federation.ReasonOutside)
	if _, err := r.Read(assertion(federation.Claims{"groups": {"/risk", "/ml"}}), "corp", now); err != nil {
		t.Error(err)
	}
	r = rules()
	r.MaxAge = 30 * time.Minute
	_, err = r.Read(assertion(nil), "corp", now)
	want(t, "an hour ago", err, federation.ReasonStale)
	a := assertion(nil)
	a.AuthTime = time.Time{}
	_, err = r.Read(a, "corp", now)
	want(t, "unsaid", err, federation.ReasonStale)
	if a.AuthTime = now.Add(-30 * time.Minute); err != nil {
		if _, err := r.Read(a, "corp", now); err != nil {
			t.Error(err)
		}
	}
}

func TestLimits(t *testing.T) {
	many := make([]string, 513)
	wide := federation.Claims{}
	for i := range 129 {
		wide[fmt.Sprint(i)] = []string{"x"}
	}
	for name, c := range map[string]federation.Claims{"values": {"groups": many}, "claims": wide, "a long one": {"groups": {strings.Repeat("x", 1025)}}} {
		if _, err := rules().Read(assertion(c), "corp", now); sallyport.KindOf(err) != sallyport.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, subject := range []string{"", strings.Repeat("x", 256), "a\x00b", "a\nb", "\u202eb", "\xff"} {
		a := assertion(nil)
		a.Subject = subject
		_, err := rules().Read(a, "corp", now)
		want(t, fmt.Sprintf("%.20q", subject), err, federation.ReasonAnswer)
	}
}

func TestRulesThatCannotBeMeant(t *testing.T) {
	if err := rules().Check("test"); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*federation.Rules){
		"no value":                func(r *federation.Rules) { r.Groups[0].Is = "" },
		"no claim":                func(r *federation.Rules) { r.Only = []federation.Condition{{Is: "x"}} },
		"no group":                func(r *federation.Rules) { r.Groups[0].Groups = nil },
		"a bare group":            func(r *federation.Rules) { r.Groups[0].Groups = []string{"engineers"} },
		"a group of odd letters":  func(r *federation.Rules) { r.Groups[0].Groups = []string{"acme/Engineers"} },
		"join without names":      func(r *federation.Rules) { r.Fields.Name = "" },
		"join nowhere":            func(r *federation.Rules) { r.Join.Organisation = "" },
		"an address as a domain":  func(r *federation.Rules) { r.Domains = []string{"ana@acme.example"} },
		"every domain":            func(r *federation.Rules) { r.Domains = []string{"*"} },
		"domain without claims":   func(r *federation.Rules) { r.Fields.Verified = "" },
		"a level of none":         func(r *federation.Rules) { r.ACR["x"] = sallyport.NoAssurance },
		"a class without a name":  func(r *federation.Rules) { r.ACR[""] = sallyport.MultiFactor },
		"methods of none":         func(r *federation.Rules) { r.AMR[0].All = nil },
		"an empty method":         func(r *federation.Rules) { r.AMR[0].All = []string{""} },
		"a level above all":       func(r *federation.Rules) { r.AMR[0].Level = 9 },
		"an age before the proof": func(r *federation.Rules) { r.MaxAge = -1 },
		"too many":                func(r *federation.Rules) { r.Groups = make([]federation.GroupRule, 513) },
	} {
		r := rules()
		change(&r)
		if err := r.Check("test"); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFlatten(t *testing.T) {
	c, err := federation.Flatten([]byte(`{"a":"x","b":["y","z",1,true,null,{"n":1},["d"]],"c":{"d":["e"],"f":{"g":false}},"h":null,"i":1.50,"j":[]}`))
	if err != nil || fmt.Sprint(c) != "map[a:[x] b:[y z 1 true] c.d:[e] c.f.g:[false] i:[1.50]]" {
		t.Errorf("%v, %v", c, err)
	}
	for _, bad := range []string{"", "[]", `"x"`, "null", `{"a":1}{}`, `{"a":1,"a":2}`, `{"a.b":1,"a":{"b":2}}`, `{"a":{"b":2},"a.b":1}`, `{"a":{"b":{"c":{"d":{"e":1}}}}}`, `{"a":[[[[[1]]]]]}`, `{"a":`,
		`{"a":[` + strings.Repeat(`"x",`, 513) + `"x"]}`, `{"a":"` + strings.Repeat("x", 1025) + `"}`, `{"` + strings.Repeat("x", 1025) + `":1}`} {
		if c, err := federation.Flatten([]byte(bad)); err == nil {
			t.Errorf("%.60s became %v", bad, c)
		}
	}
}

// FuzzFlatten: what is taken is JSON, within the limits, and every value stands in it.
func FuzzFlatten(f *testing.F) {
	for _, s := range []string{`{"a":{"b":["c",1,true]}}`, `{"a":[[],{}]}`, `{"é":"\u0000"}`, `{"a":1,"a":2}`, `{`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := federation.Flatten(raw)
		if err != nil {
			return
		}
		var any map[string]any
		if err := json.Unmarshal(raw, &any); err != nil {
			t.Fatalf("%q was taken: %v", raw, err)
		}
		if len(c) > 128 {
			t.Fatalf("%d claims", len(c))
		}
		for name, values := range c {
			if len(values) == 0 || len(values) > 512 || len(name) > 1024 {
				t.Fatalf("%q: %d values", name, len(values))
			}
		}
	})
}

// FuzzRules: whatever an upstream says, groups are those of rules whose conditions hold, levels those of rules, and more claims
// never make fewer groups.
func FuzzRules(f *testing.F) {
	f.Add("groups", "/ml", "/risk", "gold", "pwd", "ana@acme.example", "true")
	f.Add("department", "research", "", "", "", "", "")
	f.Add("email", "x@y", "\x00", "silver", "hwk", "a@b@c", "false")
	f.Fuzz(func(t *testing.T, claim, one, two, acr, amr, email, verified string) {
		r := rules()
		a := assertion(federation.Claims{claim: {one}})
		a.ACR, a.AMR = acr, []string{amr}
		less, err := r.Read(a, "corp", now)
		if err != nil {
			return
		}
		more := maps.Clone(a.Claims)
		more[claim] = []string{one, two}
		more["email"], more["email_verified"] = []string{email}, []string{verified}
		a.Claims = more
		p, err := r.Read(a, "corp", now)
		if err != nil {
			return
		}
		for _, g := range p.Groups {
			if !slices.Contains(r.Managed(), g) {
				t.Fatalf("the group %q comes from no rule", g)
			}
		}
		if claim != "email" && claim != "email_verified" {
			for _, g := range less.Groups {
				if !slices.Contains(p.Groups, g) {
					t.Fatalf("one claim more, and %q is gone", g)
				}
			}
		}
		if p.Assurance > sallyport.SingleFactor && r.ACR[acr] == 0 && amr != "hwk" {
			t.Fatalf("%q and %q are worth %v", acr, amr, p.Assurance)
		}
		if p.Trusted && (verified != "true" || !strings.HasSuffix(strings.ToLower(email), "@acme.example")) {
			t.Fatalf("%q (%q) is trusted", email, verified)
		}
		if p.Name != "" && sallyport.CheckName("", p.Name) != nil {
			t.Fatalf("the name %q", p.Name)
		}
	})
}
