package admission

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"sallyport"
)

// TestTheExample: the webhook configuration that we tell people to use asks about nothing that we do not know, fails closed
// everywhere, and leaves no namespace out.
func TestTheExample(t *testing.T) {
	raw, err := os.ReadFile("../../../examples/kubernetes/webhook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Webhooks []struct {
			Name, FailurePolicy, MatchPolicy, SideEffects string
			AdmissionReviewVersions                       []string
			ClientConfig                                  struct{ URL string }
			Rules                                         []struct{ APIGroups, Resources, Operations []string }
		}
	}
	var tree map[string]any // yaml's names of fields are in lower case, those of Kubernetes are not
	if err := yaml.NewDecoder(bytes.NewReader(raw)).Decode(&tree); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	lowered, err := yaml.Marshal(lower(tree))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(lowered, &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Webhooks) != 5 {
		t.Fatalf("%d webhooks", len(c.Webhooks))
	}
	for _, w := range c.Webhooks {
		if w.FailurePolicy != "Fail" || w.MatchPolicy != "Equivalent" || w.SideEffects != "NoneOnDryRun" || len(w.AdmissionReviewVersions) != 1 || w.AdmissionReviewVersions[0] != "v1" || !strings.Contains(w.ClientConfig.URL, Prefix+"/east/") || len(w.Rules) == 0 {
			t.Errorf("%+v", w)
		}
		for _, r := range w.Rules {
			for _, name := range r.Resources {
				resource, sub, _ := strings.Cut(name, "/")
				q := Request{Resource: GVR{Group: r.APIGroups[0], Resource: resource}, Subresource: sub, Operation: Operation(r.Operations[0]), Object: map[string]any{}}
				if task := taskOf(q, false); resource != "*" && task.refuse != "" {
					t.Errorf("%s: %s: %s", w.Name, name, task.refuse)
				}
			}
		}
	}
}

func lower(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, v := range x {
			out[strings.ToLower(k)] = lower(v)
		}
		return out
	case []any:
		for i := range x {
			x[i] = lower(x[i])
		}
	}
	return v
}

// TestOnlyAPinResolves: whatever stands behind a rule's prefix, what it resolves to is one digest, which stands in the name
// directly behind the model.
func TestOnlyAPinResolves(t *testing.T) {
	everywhere := []sallyport.Environment{sallyport.Production}
	c, err := Cluster{Name: "x", Principal: "service:x", Label: "l", Endpoints: map[sallyport.Environment]string{sallyport.Production: "endpoint:acme/x"},
		Sources: []Source{{From: "hf://acme/", To: "acme", Environments: everywhere}, {From: "reg.test/m/", To: "acme", Environments: everywhere}}}.Check()
	if err != nil {
		t.Fatal(err)
	}
	part := rapid.SampledFrom([]string{"fraud", "other", "@", ":", "/", "sha256:", strings.Repeat("ab", 32), strings.Repeat("ab", 20), "main", "v1", "..", "%2f", "X", "-", "?", " "})
	rapid.Check(t, func(t *rapid.T) {
		image := rapid.Bool().Draw(t, "image")
		prefix := "hf://acme/"
		if image {
			prefix = "reg.test/m/"
		}
		rest := strings.Join(rapid.SliceOfN(part, 0, 8).Draw(t, "parts"), "")
		r := c.resolve(claim{image: image, name: prefix + rest}, sallyport.Production)
		if r.refuse != "" {
			return
		}
		hex := strings.TrimPrefix(r.ref.Revision, "sha256:")
		behind, ok := strings.CutPrefix(rest, r.ref.Name)
		at := strings.Index(behind, hex)
		if r.tool || !ok || hex == "" || at < 0 || strings.Contains(strings.TrimPrefix(behind[1:at], "sha256:"), "/") || sallyport.CheckRevision("", r.ref.Revision) != nil {
			t.Fatalf("%q resolves to %+v", prefix+rest, r)
		}
		if c.resolve(claim{image: image, name: prefix + rest}, sallyport.Staging).refuse == "" {
			t.Fatalf("%q resolves where no rule holds", prefix+rest)
		}
	})
}

// TestConfigurationsThatCannotBeMeant are refused.
func TestConfigurationsThatCannotBeMeant(t *testing.T) {
	good := func() Cluster {
		return Cluster{Name: "x", Principal: "service:x", Label: "l", Endpoints: map[sallyport.Environment]string{sallyport.Production: "endpoint:acme/x"}}
	}
	if _, err := good().Check(); err != nil {
		t.Fatal(err)
	}
	production := []sallyport.Environment{sallyport.Production}
	for name, spoil := range map[string]func(*Cluster){
		"a person":                func(c *Cluster) { c.Principal = "user:x" },
		"no label":                func(c *Cluster) { c.Label = "" },
		"no endpoint":             func(c *Cluster) { c.Endpoints = nil },
		"a model for an endpoint": func(c *Cluster) { c.Endpoints[sallyport.Production] = "acme/x" },
		"an environment":          func(c *Cluster) { c.Endpoints["qa"] = "endpoint:acme/x" },
		"a scope without one":     func(c *Cluster) { c.Scoped = sallyport.Staging },
		"a namespace without one": func(c *Cluster) { c.Namespaces = map[string]sallyport.Environment{"a": sallyport.Staging} },
		"a user who is nobody":    func(c *Cluster) { c.Users = []User{{Name: "ana"}} },
		"an agent":                func(c *Cluster) { c.Users = []User{{Name: "ana", Principal: "agent:x"}} },
		"a machine as a person":   func(c *Cluster) { c.Users = []User{{Name: "system:serviceaccount:a:b", Principal: "user:ana"}} },
		"a person as a machine":   func(c *Cluster) { c.Users = []User{{Name: "ana", Principal: "service:x"}} },
		"machines by a prefix":    func(c *Cluster) { c.Users = []User{{Prefix: "system:"}} },
		"a level":                 func(c *Cluster) { c.Users = []User{{Prefix: "oidc:", Assurance: "much"}} },
		"everybody":               func(c *Cluster) { c.Users = []User{{}} },
		"two meanings": func(c *Cluster) {
			c.Sources = []Source{{From: "hf://a/", To: "acme", Tool: true, Environments: production}}
		},
		"nowhere":              func(c *Cluster) { c.Sources = []Source{{From: "hf://a/", To: "acme"}} },
		"an open prefix":       func(c *Cluster) { c.Sources = []Source{{From: "hf://a", To: "acme", Environments: production}} },
		"a tool that may move": func(c *Cluster) { c.Sources = []Source{{From: "nginx:1", Tool: true, Environments: production}} },
		"no version":           func(c *Cluster) { c.Sources = []Source{{From: "pvc://a", Is: "acme/x", Environments: production}} },
	} {
		c := good()
		spoil(&c)
		if _, err := c.Check(); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryKindIsClassified: everything in the list of what an API server can ask about is understood or refused.
func TestEveryKindIsClassified(t *testing.T) {
	s := Cover()
	if len(s.Missing) > 0 || s.Asked < 45 || s.Mapped+s.Refused != s.Asked || s.Refused < 4 {
		t.Errorf("%+v", s)
	}
}
