package main

import (
	"context"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/client/sidecar"
)

func (a *app) token() *cobra.Command {
	var what, door, purpose string
	c := &cobra.Command{
		Use: "token", Short: "Print a short-lived token for one door and one right", Args: arguments(),
		Long: `Print an access token: good for minutes, at one door, for nothing but what --for names.
It is printed to standard output and nowhere else; do not put it into a file or a command line.`,
		Example: `  sallyport token --for model.infer@acme/fraud --audience openai
  sallyport token --for 'model.pull@acme/fraud model.pullAux@acme/fraud' --audience hf
  sallyport token --for model.infer@acme/fraud --purpose scoring --audience openai`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			scope, err := sallyport.ParseScope(what)
			if err != nil {
				return err
			}
			if len(scope) == 0 {
				return usage(cmd, "say what the token is for, with --for ACTION@RESOURCE")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			d, err := parseDoor(cmd, door)
			if err != nil {
				return err
			}
			token, until, err := c.TokenFor(cmd.Context(), d, scope, purpose)
			if err != nil {
				return err
			}
			if !a.json {
				a.line("%s", token.Reveal())
				a.note("good until %s, for %s at %s", a.when(until), clean(what), c.Audience(d))
				return nil
			}
			return a.encode(struct {
				Token    string    `json:"token"`
				Audience string    `json:"audience"`
				Scope    string    `json:"scope"`
				Expires  time.Time `json:"expires"`
			}{token.Reveal(), c.Audience(d), scope.String(), until})
		},
	}
	c.Flags().StringVar(&what, "for", "", "`ACTION@RESOURCE`; several in quotes, separated by spaces")
	c.Flags().StringVar(&purpose, "purpose", "", "what the token is used for, where a model or a policy asks: `NAME`")
	c.Flags().StringVar(&door, "audience", string(client.API), "the `DOOR`: api, hf, openai or vault")
	completeActions(c, "for")
	complete(c, "audience", doors()...)
	return c
}

func doors() []string {
	var names []string
	for _, d := range client.Doors() {
		names = append(names, string(d))
	}
	return names
}

func parseDoor(cmd *cobra.Command, name string) (client.Door, error) {
	for _, d := range client.Doors() {
		if string(d) == name {
			return d, nil
		}
	}
	return "", usage(cmd, "no door is called \""+sallyport.OneLine(name)+"\"; there are "+strings.Join(doors(), ", "))
}

func (a *app) envCommand() *cobra.Command {
	return &cobra.Command{
		Use: "env", Short: "Print what stock clients need, as export lines", Args: arguments(),
		Long: `Print the environment under which unchanged clients (huggingface_hub, openai, npm packages) go through Sallyport:
addresses, the certificate authority, and short-lived tokens. The tokens end within minutes; run it again then.`,
		Example: `  eval "$(sallyport env)"
  hf download acme/demo`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			all, until, err := a.settings(cmd.Context(), c)
			if err != nil {
				return err
			}
			if err := a.printSettings(all, until); err != nil || a.json {
				return err
			}
			a.line("%s", "# the tokens are good until "+until.Local().Format("15:04:05")+"; then run this again")
			return nil
		},
	}
}

func (a *app) settings(ctx context.Context, c *client.Client) ([]sidecar.Setting, time.Time, error) {
	if c.Bound() {
		return nil, time.Time{}, sallyport.E("env", sallyport.Invalid, "this login is bound to a key, which stock clients cannot use",
			"run the program with 'sallyport run -- COMMAND', or keep 'sallyport agent' running for it")
	}
	hub, until, err := c.Token(ctx, client.Hub, nil)
	if err != nil {
		return nil, until, err
	}
	chat, _, err := c.Token(ctx, client.OpenAI, nil)
	if err != nil {
		return nil, until, err
	}
	token := hub.Reveal()
	if !strings.HasPrefix(token, "hf_") { // the stock client refuses another beginning
		token = "hf_" + token
	}
	all := []sidecar.Setting{
		{Name: "HF_ENDPOINT", Value: c.Audience(client.Hub)}, {Name: "HF_TOKEN", Value: token}, {Name: "HF_HUB_DISABLE_XET", Value: "1"}, {Name: "HF_HUB_DISABLE_TELEMETRY", Value: "1"},
		{Name: "OPENAI_BASE_URL", Value: c.Audience(client.OpenAI) + "/v1"}, {Name: "OPENAI_API_KEY", Value: chat.Reveal()},
	}
	store, err := a.store()
	if err != nil {
		return nil, until, err
	}
	login, err := a.kept(store, c.Server())
	if err != nil {
		return nil, until, err
	}
	ca := a.ca
	if ca == "" {
		ca = login.CAFile
	}
	if ca != "" {
		if ca, err = filepath.Abs(ca); err != nil {
			return nil, until, err
		}
		bundle, err := client.Bundle(store.Dir, ca)
		if err != nil {
			return nil, until, err
		}
		all = append(all, sidecar.Setting{Name: "REQUESTS_CA_BUNDLE", Value: bundle}, sidecar.Setting{Name: "SSL_CERT_FILE", Value: bundle}, sidecar.Setting{Name: "NODE_EXTRA_CA_CERTS", Value: ca}, sidecar.Setting{Name: "SALLYPORT_CA", Value: ca})
	}
	return all, until, nil
}

// quote writes a word for a POSIX shell.
func quote(s string) string {
	if runtime.GOOS == "windows" {
		return `"` + s + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
