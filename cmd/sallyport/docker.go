package main

import (
	"encoding/json"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
)

// dockerHelper is the name under which docker, podman, oras and others start a credential helper: a link of this name to
// the sallyport binary, and "credHelpers": {"HOST:PORT": "sallyport"} in their configuration.
const dockerHelper = "docker-credential-sallyport"

// asHelper reports whether the program was started as a credential helper, and returns the arguments of the command that
// does its work.
func asHelper(args []string) ([]string, bool) {
	if strings.TrimSuffix(filepath.Base(args[0]), ".exe") != dockerHelper {
		return args[1:], false
	}
	return append([]string{"docker-credential"}, args[1:]...), true
}

// maxHelperInput bounds what a registry client may write, in bytes.
const maxHelperInput = 64 << 10

// A credential is what a helper answers to "get".
type credential struct {
	ServerURL string
	Username  string
	Secret    string
}

func (a *app) dockerCredential() *cobra.Command {
	verb := func(use, short string, run func(*cobra.Command, string) error) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: arguments(), RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := io.ReadAll(io.LimitReader(a.in, maxHelperInput))
			if err != nil {
				return sallyport.Wrap("read from the registry client", sallyport.Invalid, "standard input", err)
			}
			return run(cmd, strings.TrimSpace(string(text)))
		}}
	}
	refuse := func(*cobra.Command, string) error {
		return sallyport.E("docker credential", sallyport.Invalid, "nothing is stored", "sign in with 'sallyport login'; tokens are made when they are needed")
	}
	list := &cobra.Command{Use: "list", Short: "Name the registries that tokens can be made for", Args: arguments(), RunE: func(*cobra.Command, []string) error {
		store, err := a.store()
		if err != nil {
			return err
		}
		all, err := store.Logins()
		if err != nil {
			return err
		}
		registries := map[string]string{}
		for _, l := range all {
			registries[l.Server] = "token"
		}
		return json.NewEncoder(a.out).Encode(registries)
	}}
	return noun(&cobra.Command{
		Use: "docker-credential", Short: "Give registry clients short-lived tokens (as " + dockerHelper + ")",
		Long: `Speak the protocol of docker's credential helpers. Link this binary as ` + dockerHelper + ` on the PATH and name
"sallyport" under credHelpers for your server in ~/.docker/config.json: docker, podman, skopeo and oras then get a token of
minutes when they need one, and nothing is stored.`,
		Example: `  ln -s "$(command -v sallyport)" ~/.local/bin/` + dockerHelper + `
  echo https://sally.acme.example | sallyport docker-credential get`,
	}, verb("get", "Make a token for the registry on standard input", a.dockerGet), verb("store", "Refuse: nothing is stored", refuse),
		verb("erase", "Do nothing: nothing is stored", func(*cobra.Command, string) error { return nil }), list)
}

func (a *app) dockerGet(cmd *cobra.Command, registry string) error {
	if !strings.Contains(registry, "://") {
		registry = "https://" + registry
	}
	server, err := client.ParseServer(registry, a.plaintext)
	if err != nil {
		return err
	}
	store, err := a.store()
	if err != nil {
		return err
	}
	login, err := a.kept(store, server)
	if err != nil {
		return err
	}
	if login.Server == "" {
		return sallyport.E("docker credential", sallyport.NotFound, "credentials not found in native keychain", "") // the words that clients look for
	}
	a.server = server
	c, err := a.connect()
	if err != nil {
		return err
	}
	if c.Bound() {
		return sallyport.E("docker credential", sallyport.Invalid, "the login is bound to a key, which registry clients cannot use", "run the client with 'sallyport run'")
	}
	token, _, err := c.Token(cmd.Context(), client.Vault, nil)
	if err != nil {
		return err
	}
	return json.NewEncoder(a.out).Encode(credential{ServerURL: registry, Username: "sallyport", Secret: token.Reveal()})
}
