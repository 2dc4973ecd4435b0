package policy_test

import (
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/authz/policy"
)

func notes(pairs ...string) map[string]string {
	m := map[string]string{"id": "x", "owner": "sec", "requirement": "AZ-1"}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func TestNewInfo(t *testing.T) {
	tests := []struct {
		name        string
		effect      policy.Effect
		annotations map[string]string
		outcome     sallyport.Outcome
		needs       sallyport.Assurance
		obligations string
	}{
		{"a plain permit", policy.Permit, notes(), sallyport.Deny, 0, ""},
		{"a plain forbid", policy.Forbid, notes("text", "No.", "remedy", "ask", "contact", "sec"), sallyport.Deny, 0, ""},
		{"a hold", policy.Forbid, notes("outcome", "hold"), sallyport.Hold, 0, ""},
		{"a step-up", policy.Forbid, notes("outcome", "step-up", "needs", "aal3"), sallyport.StepUp, sallyport.Hardware, ""},
		{"an obligation", policy.Permit, notes("obligation", "limit-rate=9"), sallyport.Deny, 0, "limit-rate=9"},
		{"two obligations", policy.Permit, notes("obligation", "limit-rate=9, limit-bytes=1"), sallyport.Deny, 0, "limit-rate=9 limit-bytes=1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i, err := policy.NewInfo(test.effect, test.annotations, "text")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range i.Obligations {
				got = append(got, o.String())
			}
			if i.ID != "x" || i.Owner != "sec" || !slices.Equal(i.Requirements, []string{"AZ-1"}) || i.Text != "text" || i.Effect != test.effect ||
				i.Outcome != test.outcome || i.Needs != test.needs || strings.Join(got, " ") != test.obligations {
				t.Errorf("got %+v", i)
			}
		})
	}
}

// TestNewInfoRefuses: what is not understood is no policy. The engines' tests have
// the messages.
func TestNewInfoRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		effect      policy.Effect
		annotations map[string]string
	}{
		"nothing":                    {policy.Permit, nil},
		"no requirement":             {policy.Permit, map[string]string{"id": "x", "owner": "sec"}},
		"a requirement with a space": {policy.Permit, notes("requirement", "AZ 1")},
		"an unknown annotation":      {policy.Permit, notes("note", "x")},
		"a permit that holds":        {policy.Permit, notes("outcome", "hold")},
		"a permit that needs":        {policy.Permit, notes("needs", "aal2")},
		"a hold that needs":          {policy.Forbid, notes("outcome", "hold", "needs", "aal2")},
		"an outcome allow":           {policy.Forbid, notes("outcome", "allow")},
		"a step-up without level":    {policy.Forbid, notes("outcome", "step-up")},
		"a forbid with a limit":      {policy.Forbid, notes("obligation", "limit-bytes=1")},
		"an empty obligation":        {policy.Permit, notes("obligation", "")},
		"a negative limit":           {policy.Permit, notes("obligation", "limit-bytes=-1")},
		"another audience":           {policy.Forbid, notes("audience", "everybody")},
		"no audience":                {policy.Forbid, notes("audience", "")},
		"a secret that holds":        {policy.Forbid, notes("audience", "auditor", "outcome", "hold")},
		"a secret with a contact":    {policy.Forbid, notes("audience", "auditor", "contact", "sec")},
	} {
		if _, err := policy.NewInfo(test.effect, test.annotations, ""); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: error %v, want one of kind invalid", name, err)
		}
	}
}

func TestCheckID(t *testing.T) {
	for _, id := range []string{"a", "weights.need-a-grant", "0", strings.Repeat("a", 80), "defaults.x"} {
		if err := policy.CheckID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", "A", "a b", "ä", "a:b", "hold:1", strings.Repeat("a", 81), "default.x", "engine", "token.scope"} {
		if policy.CheckID(id) == nil {
			t.Errorf("%q is an id", id)
		}
	}
}

func TestUIDString(t *testing.T) {
	if got := (policy.UID{Type: "User", ID: "ana"}).String(); got != `User::"ana"` {
		t.Errorf("got %s", got)
	}
}
