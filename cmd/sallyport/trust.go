package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/identity/jose"
	"sallyport/internal/web/api"
)

// maxProof bounds what is read of a file with a proof or keys, in bytes.
const maxProof = 64 << 10

func (a *app) trust() *cobra.Command {
	return noun(&cobra.Command{Use: "trust", Short: "Which proofs of other issuers prove which service: add, list, remove, test"},
		a.trustAdd(), a.trustList(), a.trustRemove(), a.trustTest())
}

// usualIssuer is the issuer of a kind that has one place.
func usualIssuer(kind string) string {
	switch kind {
	case "github":
		return "https://token.actions.githubusercontent.com"
	case "gitlab":
		return "https://gitlab.com"
	}
	return ""
}

func (a *app) trustAdd() *cobra.Command {
	r := api.TrustRule{}
	var match []string
	var who, keys string
	c := &cobra.Command{
		Use: "add NAME", Short: "Let a proof of another issuer get a token of a service or an agent", Args: arguments("NAME"),
		Long: `Trust what another issuer says of a job, so that the job keeps no secret. Every claim of --match must have exactly this
value. A rule names one workload for good: GitHub by repository_id, repository_owner_id and one of environment,
job_workflow_ref, ref or sub; GitLab by project_id, namespace_id and one of environment, ci_config_ref_uri, ref or sub;
Kubernetes by namespace, serviceaccount and uid; SPIFFE and others by sub. The proof's audience must be this server.`,
		Example: `  sallyport trust add fraud-ci --kind github --match repository_id=42 --match repository_owner_id=7 \
    --match environment=production --as service:trainer --scope "model.push@acme/fraud" --client huggingface-hub
  sallyport trust add cluster --kind kubernetes --issuer https://cluster.example --keys jwks.json --match namespace=ml \
    --match serviceaccount=trainer --match uid=0f… --as service:trainer --scope model.pull@acme/fraud --client ci`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Name, r.Match = args[0], map[string]string{}
			r.Issuer = cmp.Or(r.Issuer, usualIssuer(r.Kind))
			for _, one := range match {
				name, value, ok := strings.Cut(one, "=")
				if _, twice := r.Match[name]; !ok || twice {
					return usage(cmd, "write each --match once, as CLAIM=VALUE")
				}
				r.Match[name] = value
			}
			var err error
			if r.Principal, err = sallyport.ParsePrincipalID(cmp.Or(who, "-")); err != nil {
				return usage(cmd, "say --as service:NAME or --as agent:NAME")
			}
			if keys != "" {
				if r.Keys, err = readShort(keys); err != nil {
					return err
				}
				if !json.Valid(r.Keys) {
					return sallyport.E("add trust rule", sallyport.Invalid, keys+" is no JSON document", "name a file with the issuer's JWKS")
				}
			}
			return do(cmd.Context(), a, with((*client.Client).AddTrustRule, r), func(added api.TrustRule) {
				a.line("%s: %s proves %s, for %s at most, within %s", added.Name, matches(added), added.Principal, added.Life, added.Scope)
			})
		},
	}
	c.Flags().StringVar(&r.Kind, "kind", "", "whose proofs: github, gitlab, kubernetes, spiffe or oidc")
	c.Flags().StringVar(&r.Issuer, "issuer", "", "the issuer as its tokens name it; of SPIFFE spiffe://DOMAIN")
	c.Flags().StringArrayVar(&match, "match", nil, "a claim and its one value, `CLAIM=VALUE`; may be repeated")
	c.Flags().BoolVar(&r.AnySubject, "any-subject", false, "more than one workload is meant")
	c.Flags().StringVar(&r.Audience, "audience", "", "another address of this server, such as that of the Hub's door; its issuer by default")
	c.Flags().StringVar(&keys, "keys", "", "a `FILE` with the issuer's keys (JWKS), where they cannot be fetched")
	c.Flags().StringVar(&r.KeysURL, "keys-url", "", "where the keys are, where they are not found by discovery")
	c.Flags().StringVar(&who, "as", "", "the service or agent that is proved")
	c.Flags().StringVar(&r.Scope, "scope", "", "the most that a token may be used for, such as `model.push@acme/fraud`")
	c.Flags().StringVar(&r.Life, "life", "15m", "the most that a token lives, up to an hour")
	c.Flags().StringArrayVar(&r.Clients, "client", nil, "an OAuth client that may use the rule; may be repeated")
	complete(c, "kind", "github", "gitlab", "kubernetes", "spiffe", "oidc")
	return c
}

func matches(r api.TrustRule) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.Match)) {
		all = append(all, name+"="+r.Match[name])
	}
	return r.Issuer + " with " + strings.Join(all, ", ")
}

// readShort reads a file that is short, "-" for the standard input.
func readShort(name string) ([]byte, error) {
	const op = "read file"
	from := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, sallyport.E(op, sallyport.Invalid, err.Error(), "")
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxProof+1))
	if err != nil || len(text) > maxProof {
		return nil, sallyport.E(op, sallyport.TooLarge, name+" cannot be read, or has more than 64 KiB", "")
	}
	return text, nil
}

func (a *app) trustList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the trust rules", Args: arguments(),
		Example: "  sallyport trust ls --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{headings: []string{"NAME", "KIND", "PROOF", "PROVES", "SCOPE", "LIFE", "CLIENTS"}, none: "No proof of another issuer is trusted."}
			return rows(cmd.Context(), a, (*client.Client).TrustRules, t, func(r api.TrustRule) []string {
				return []string{r.Name, r.Kind, matches(r), string(r.Principal), r.Scope, r.Life, list(r.Clients)}
			})
		},
	}
}

func (a *app) trustRemove() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Short: "Remove a trust rule; what was given by it ends by itself within the hour", Args: arguments("NAME"),
		Example: "  sallyport trust rm fraud-ci",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, done((*client.Client).RemoveTrustRule, args[0], api.TrustRule{Name: args[0]}), func(r api.TrustRule) {
				a.line("%s is removed", r.Name)
			})
		},
	}
}

func (a *app) trustTest() *cobra.Command {
	t := api.TrustTest{}
	var offline bool
	c := &cobra.Command{
		Use: "test FILE", Short: "Say which rule accepts a proof and why the others do not; nothing is given for it", Args: arguments("FILE"),
		Long: `Read a proof from a file, or from the standard input with "-", and hold the server's rules against it. With --offline
no server is asked and nothing is verified: the claims are printed as a rule would name them.`,
		Example: `  sallyport trust test token.jwt --client huggingface-hub
  echo "$ID_TOKEN" | sallyport trust test - --offline`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readShort(args[0])
			if err != nil {
				return err
			}
			t.Proof = strings.TrimSpace(string(text))
			if offline {
				return a.peek(t.Proof)
			}
			return judge(cmd.Context(), a, with((*client.Client).TestTrust, t), a.trials, func(all []api.TrustTrial) int {
				if !slices.ContainsFunc(all, func(x api.TrustTrial) bool { return x.Accepted }) {
					return client.ExitDenied
				}
				return 0
			})
		},
	}
	c.Flags().StringVar(&t.Client, "client", "", "the OAuth client that would send it")
	c.Flags().BoolVar(&offline, "offline", false, "only print what the proof says of itself")
	return c
}

func (a *app) trials(all []api.TrustTrial) {
	for _, x := range all {
		if x.Accepted {
			a.line("%s accepts it: %s, within %s, until %s", x.Rule, x.Principal, x.Scope, a.when(x.Expires))
		} else {
			a.line("%s does not: %s", x.Rule, x.Why)
		}
	}
}

// peek prints the texts among a proof's claims, unverified.
func (a *app) peek(proof string) error {
	said, err := jose.Peek(proof)
	if err != nil {
		return sallyport.E("test proof", sallyport.Invalid, "the file holds no signed token", "give it the compact form, three parts with dots between")
	}
	all := map[string]string{}
	for _, name := range said.Claims.Names() {
		if value, ok := said.Claims.Text(name); ok {
			all[name] = value
		}
	}
	for name, path := range map[string][]string{"namespace": {"namespace"}, "serviceaccount": {"serviceaccount", "name"}, "uid": {"serviceaccount", "uid"}} {
		if value, ok := said.Claims.Text(append([]string{"kubernetes.io"}, path...)...); ok {
			all[name] = value
		}
	}
	return a.answer(all, func() {
		a.line("not verified; audience %s, until %s", list(said.Claims.Audience), a.when(said.Claims.Expires))
		for _, name := range slices.Sorted(maps.Keys(all)) {
			a.line("%s", fmt.Sprintf("--match %s=%s", name, clean(all[name])))
		}
	})
}
