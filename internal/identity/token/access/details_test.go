package access

import (
	"slices"
	"testing"

	"sallyport"
)

// FuzzParseDetails reads any text: what is accepted is a scope, and says itself again.
func FuzzParseDetails(f *testing.F) {
	for _, text := range []string{
		`[{"type":"sallyport","actions":["model.infer"],"identifier":"acme/fraud","locations":["https://a.example/api"],"purpose":"training"}]`,
		`[{"type":"sallyport","actions":["model.*","*"]},{"type":"sallyport","actions":["dataset.read"],"identifier":"dataset:acme/rows"}]`,
		`[]`, `[{}]`, `[{"type":"other"}]`, `{`, `[{"type":"sallyport","actions":["model.infer@acme/fraud"]}]`, `[{"type":"sallyport","actions":["model.infer model.pull"]}]`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		scope, _, purpose, err := ParseDetails(text)
		if err != nil {
			if sallyport.ReasonOf(err) != "invalid_authorization_details" {
				t.Errorf("%q: reason %q", text, sallyport.ReasonOf(err))
			}
			return
		}
		if _, err := sallyport.ParseScope(scope.String()); err != nil || len(scope) == 0 {
			t.Fatalf("%q became the scope %v: %v", text, scope, err)
		}
		again, err := Details(scope, purpose)
		if err != nil {
			t.Fatal(err)
		}
		back, _, same, err := ParseDetails(string(again))
		if err != nil || same != purpose || !slices.Equal(slices.Sorted(slices.Values(back)), slices.Sorted(slices.Values(scope))) {
			t.Errorf("%v became %s, which reads as %v: %v", scope, again, back, err)
		}
	})
}

func TestActors(t *testing.T) {
	chain := []sallyport.PrincipalID{"agent:c", "agent:b", "agent:a"}
	act := Acting(chain)
	if act.Subject != "agent:c" || act.Actor.Actor.Subject != "agent:a" {
		t.Errorf("the present actor does not stand first: %+v", act)
	}
	if back, ok := act.list(); !ok || !slices.Equal(back, chain) {
		t.Errorf("%v became %v", chain, back)
	}
	for name, bad := range map[string]*Actor{
		"nobody": {}, "no kind": {Subject: "helper"}, "too many": Acting([]sallyport.PrincipalID{"agent:a", "agent:b", "agent:c", "agent:d", "agent:e"}),
	} {
		if _, ok := bad.list(); ok {
			t.Errorf("%s: accepted", name)
		}
	}
	if Acting(nil) != nil {
		t.Error("nobody acts, and somebody is named")
	}
}

// TestConfirmation makes a token worthless when what it is bound to cannot be understood.
func TestConfirmation(t *testing.T) {
	const thumb = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for key, want := range map[string]*Confirmation{"jkt:" + thumb: {JKT: thumb}, "x5t:" + thumb: {X5T: thumb}} {
		c := Confirm(key)
		if c == nil || *c != *want {
			t.Errorf("%s became %+v", key, c)
		}
		if back, ok := c.key(); !ok || back != key {
			t.Errorf("%s came back as %q", key, back)
		}
	}
	for name, bad := range map[string]*Confirmation{"empty": {}, "both": {JKT: thumb, X5T: thumb}, "short": {JKT: "AAAA"}, "no base64url": {X5T: "!" + thumb[1:]}} {
		if _, ok := bad.key(); ok {
			t.Errorf("%s: accepted", name)
		}
	}
}
