package filter_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sallyport"
	"sallyport/internal/web/scim/filter"
)

const enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

// known is a schema of a few attributes.
func known(within, a filter.Attr) (filter.Attr, filter.Typed, bool) {
	types := map[string]filter.Typed{
		"userName": {Kind: filter.Text}, "externalId": {Kind: filter.Text, Exact: true}, "active": {Kind: filter.Flag}, "age": {Kind: filter.Number},
		"name": {Kind: filter.Complex}, "name.familyName": {Kind: filter.Text}, "nickName": {Kind: filter.Text},
		"emails": {Kind: filter.Complex, Many: true}, "emails.value": {Kind: filter.Text}, "emails.type": {Kind: filter.Text}, "emails.primary": {Kind: filter.Flag},
		"meta": {Kind: filter.Complex}, "meta.lastModified": {Kind: filter.Time}, enterprise + ":department": {Kind: filter.Text}, enterprise: {Kind: filter.Complex},
	}
	ask := a.String()
	if within.Name != "" {
		ask = within.Name + "." + ask
	}
	for name, typ := range types {
		if !strings.EqualFold(name, ask) {
			continue
		}
		if within.Name != "" {
			return filter.Attr{Name: strings.TrimPrefix(name, within.Name+".")}, typ, true
		}
		if rest, ok := strings.CutPrefix(name, enterprise); ok {
			return filter.Attr{URN: enterprise, Name: strings.TrimPrefix(rest, ":")}, typ, true
		}
		name, sub, _ := strings.Cut(name, ".")
		return filter.Attr{Name: name, Sub: sub}, typ, true
	}
	return a, filter.Typed{}, false
}

func record(t testing.TB) map[string]any {
	var m map[string]any
	err := json.Unmarshal([]byte(`{"userName":"BJensen","externalId":"Ab1","active":true,"age":42,"name":{"familyName":"O'Malley"},
		"emails":[{"value":"bj@example.com","type":"work","primary":true},{"value":"b@home.example","type":"home"}],
		"meta":{"lastModified":"2011-05-13T04:42:34Z"},"`+enterprise+`":{"department":"Sales"}}`), &m)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The filters of RFC 7644, figure 2 and around it, and what they mean for one
// record.
func TestMatch(t *testing.T) {
	for text, want := range map[string]bool{
		`userName eq "bjensen"`:                               true,
		`USERNAME Eq "bjensen"`:                               true,
		`name.familyName co "O'Malley"`:                       true,
		`userName sw "J"`:                                     false,
		`userName ew "EN"`:                                    true,
		`externalId eq "ab1"`:                                 false, // caseExact
		`externalId eq "Ab1"`:                                 true,
		`nickName pr`:                                         false,
		`nickName eq null`:                                    true,
		`userName eq null`:                                    false,
		`userName ne null`:                                    true,
		`meta.lastModified gt "2011-05-13T04:42:33Z"`:         true,
		`meta.lastModified ge "2011-05-13T06:42:34+02:00"`:    true,
		`meta.lastModified lt "2011-05-13T04:42:34Z"`:         false,
		`meta.lastModified le "2011-05-13T04:42:34Z"`:         true,
		`active eq true`:                                      true,
		`active eq "True"`:                                    true,
		`active ne True`:                                      false,
		`age gt 41.5 and age le 42`:                           true,
		`emails eq "BJ@example.com"`:                          true,
		`emails.type eq "home"`:                               true,
		`emails[type eq "work" and value co "@example.com"]`:  true,
		`emails[type eq "home" and value co "@example.com"]`:  false,
		`emails[type eq "home" and primary eq true]`:          false,
		`emails[not (type eq "work")]`:                        true,
		`emails ne "bj@example.com"`:                          false,
		`userName eq "x" or active eq true and name pr`:       true,
		`(userName eq "x" or active eq true) and nickName pr`: false,
		`not (userName eq "x")`:                               true,
		`userName eq "bjensen" and (emails co "example.com" or emails.value co "example.org")`: true,
		enterprise + `:department eq "sales"`:                                                  true,
		strings.ToUpper(enterprise) + `:Department ne "sales"`:                                 false,
		enterprise + ` pr`:                    true,
		`userName eq "BJensen\u0000"`:         false,
		`userName gt "a" and userName lt "c"`: true,
	} {
		e, err := filter.Parse(text)
		if err == nil {
			e, err = e.Resolve(known)
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := e.Match(record(t)); got != want {
			t.Errorf("%s is %v", text, got)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, text := range []string{``, ` `, `userName`, `userName eq`, `userName eq bjensen`, `userName xx "a"`, `userName eq "a" and`, `and userName pr`,
		`(userName pr`, `userName pr)`, `not userName pr`, `userName eq "a`, `userName eq "a" userName pr`, `emails[type eq "work"`, `emails[]`, `emails[type eq "work"]]`,
		`userName eq {"a":1}`, `userName eq [1]`, `user name pr`, `.userName pr`, `userName. pr`, `userName.a.b pr`, `1userName pr`, `userName eq 'a'`, `userName eq "a"; DROP TABLE member`,
		`urn: pr`, `urn:x:y"z pr`, "userName eq \"\xff\"", strings.Repeat("(", 20) + "userName pr" + strings.Repeat(")", 20),
		strings.TrimSuffix(strings.Repeat("active pr and ", 65), " and "), `userName eq "` + strings.Repeat("a", filter.MaxLength) + `"`,
		// what can be read and means nothing here
		`password eq "x"`, `ghost pr`, `name eq "x"`, `active gt true`, `active co "t"`, `age co 4`, `age eq "4"`, `userName eq 4`, `userName[type eq "work"]`,
		`meta.lastModified gt "yesterday"`, `userName gt null`, `emails[ghost eq "x"]`, `name[familyName pr]`} {
		e, err := filter.Parse(text)
		if err == nil {
			_, err = e.Resolve(known)
		}
		if err == nil || sallyport.ReasonOf(err) != "invalidFilter" || sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%.60s: %v", text, err)
		}
	}
}

// The shapes in which providers name what a PATCH is about.
func TestPath(t *testing.T) {
	work := &filter.Expr{Op: filter.Equal, Attr: filter.Attr{Name: "type"}, Value: "work"}
	for text, want := range map[string]filter.Path{
		`members`:                           {Attr: filter.Attr{Name: "members"}},
		`name.familyName`:                   {Attr: filter.Attr{Name: "name", Sub: "familyName"}},
		`emails[type eq "work"]`:            {Attr: filter.Attr{Name: "emails"}, Where: work},
		`emails[type eq "work"].value`:      {Attr: filter.Attr{Name: "emails"}, Where: work, Sub: "value"},
		`members.$ref`:                      {Attr: filter.Attr{Name: "members", Sub: "$ref"}},
		enterprise + `:manager.value`:       {Attr: filter.Attr{URN: enterprise, Name: "manager", Sub: "value"}},
		enterprise:                          {Attr: filter.Attr{URN: strings.TrimSuffix(enterprise, ":User"), Name: "User"}},
		`members[value eq "2819c223-7f76"]`: {Attr: filter.Attr{Name: "members"}, Where: &filter.Expr{Op: filter.Equal, Attr: filter.Attr{Name: "value"}, Value: "2819c223-7f76"}},
	} {
		got, err := filter.ParsePath(text)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(filter.Expr{})); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
	for _, text := range []string{``, `members[`, `members[value eq "1"`, `members[value eq "1"]x`, `members[value eq "1"].`, `members[value eq "1"].a.b`, `a b`, `members]`, `name.familyName[type eq "x"].value`, `"members"`} {
		if _, err := filter.ParsePath(text); err == nil || sallyport.ReasonOf(err) != "invalidPath" {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := filter.ParseAttr(`emails[type eq "work"]`); err == nil {
		t.Error("a filter was taken for a name")
	}
}

// TestSCIM5FilterSQL: what looks like SQL is text, and only ever compared.
func TestSCIM5FilterSQL(t *testing.T) {
	e, err := filter.Parse(`userName eq "' OR 1=1; DROP TABLE member; --"`)
	if err != nil || e.Value != "' OR 1=1; DROP TABLE member; --" {
		t.Fatalf("%+v, %v", e, err)
	}
	if e, err = e.Resolve(known); err != nil || e.Match(record(t)) {
		t.Errorf("it matches: %v", err)
	}
}

func FuzzSCIM5Filter(f *testing.F) {
	for _, s := range []string{`userName eq "bjensen"`, `emails[type eq "work" and not (value co "@")] or name.familyName pr`, enterprise + `:department ne null`, `((active eq True))`, `a[`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := filter.Parse(s)
		if err != nil {
			return
		}
		if e, err = e.Resolve(known); err == nil {
			got := e.Match(record(t))
			if n, err := (filter.Expr{Op: filter.Not, Args: []filter.Expr{e}}).Resolve(known); err != nil || n.Match(record(t)) == got {
				t.Errorf("%q and its negation are both %v: %v", s, got, err)
			}
		}
	})
}

func FuzzSCIM5Path(f *testing.F) {
	for _, s := range []string{`members[value eq "1"]`, `emails[type eq "work"].value`, `name.familyName`, enterprise + `:manager`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := filter.ParsePath(s); err == nil && p.Attr.Name == "" {
			t.Errorf("%q names nothing", s)
		}
	})
}
