package demo

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sallyport/client"
)

// renewEvery is how often the tokens in env.sh are made anew: they live ten minutes.
const renewEvery = 5 * time.Minute

// environment is what stock clients need to work as ana.
func (s *story) environment(ctx context.Context) (map[string]string, error) {
	ana, err := s.who("ana")
	if err != nil {
		return nil, err
	}
	ana.Forget()
	hf, err := ana.Token(ctx, client.Hub)
	if err != nil {
		return nil, err
	}
	chat, err := ana.Token(ctx, client.OpenAI)
	if err != nil {
		return nil, err
	}
	at, ca := s.server.External(), s.server.CA()
	bundle, err := client.Bundle(s.dir, ca)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"SALLYPORT_SERVER": at, "SALLYPORT_CA": ca, "SSL_CERT_FILE": bundle, "REQUESTS_CA_BUNDLE": bundle, "NODE_EXTRA_CA_CERTS": ca,
		"HF_ENDPOINT": at + "/hf", "HF_TOKEN": hf.Reveal(), "OPENAI_BASE_URL": at + "/openai/v1", "OPENAI_API_KEY": chat.Reveal(),
		"SALLYPORT_PEOPLE": s.path("people"), "SALLYPORT_MODEL_OPEN": open, "SALLYPORT_MODEL_GUARDED": guarded, "SALLYPORT_MODEL_CLOSED": closed,
	}, nil
}

// exports writes an environment as a shell reads it.
func exports(env map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "export %s='%s'\n", name, env[name])
	}
	return b.String()
}

// keep stays until ctx ends, and keeps the tokens in env.sh fresh.
func (s *story) keep(ctx context.Context) error {
	if err := s.writePeople(); err != nil {
		return err
	}
	env, err := s.environment(ctx)
	if err == nil {
		err = s.writeEnv(env)
	}
	if err != nil {
		return err
	}
	s.out.say("%s", s.advice(env))
	if s.out.json {
		s.out.object(map[string]any{"env": env})
	}
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if env, err = s.environment(ctx); err == nil {
			err = s.writeEnv(env)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("the tokens were not renewed", "err", err)
		}
	}
}

// writeEnv replaces env.sh as a whole.
func (s *story) writeEnv(env map[string]string) error {
	next := s.path("env.sh.new")
	if err := os.WriteFile(next, []byte(exports(env)), 0o600); err != nil {
		return err
	}
	return os.Rename(next, s.path("env.sh"))
}

// writePeople writes down how to sign in as each of the cast.
func (s *story) writePeople() error {
	var b strings.Builder
	b.WriteString("The people of the demo. Their codes: oathtool --totp -b KEY, or add the key to an authenticator app.\n\n")
	for _, name := range slices.Sorted(maps.Keys(s.cast)) {
		p := s.cast[name]
		fmt.Fprintf(&b, "%-9s password: %s   key: %s\n", name, p.Password.Reveal(), p.App.Key)
	}
	return os.WriteFile(s.path("people.txt"), []byte(b.String()), 0o600)
}

// advice is what to try next.
func (s *story) advice(env map[string]string) string {
	as := func(name, command string) string {
		return fmt.Sprintf("  XDG_CONFIG_HOME=%s sallyport %s\n", s.path("people", name), command)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nSallyport stays at %s until you press Ctrl-C.\n\n", s.server.External())
	fmt.Fprintf(&b, "Stock clients work as ana with this; it is made anew every %s in %s\n\n%s\n", renewEvery, s.path("env.sh"), exports(env))
	b.WriteString("Things to try:\n")
	fmt.Fprintf(&b, "  . %s\n", s.path("env.sh"))
	fmt.Fprintf(&b, "  curl --cacert $SALLYPORT_CA -H \"Authorization: Bearer $OPENAI_API_KEY\" $OPENAI_BASE_URL/models\n")
	fmt.Fprintf(&b, "  hf download %s config.json tokenizer.json       # allowed\n", guarded)
	fmt.Fprintf(&b, "  hf download %s %s              # denied, with the command that helps\n", guarded, weights)
	fmt.Fprintf(&b, "  hf download %s                                   # allowed: it is internal\n", open)
	b.WriteString(as("ana", "whoami"))
	b.WriteString(as("ana", fmt.Sprintf("request model.pull %s --for 10m --why 'to try it'", guarded)))
	b.WriteString(as("ravi", "inbox"))
	b.WriteString(as("rita", "lock user:ana --why 'to see what happens'"))
	b.WriteString(as("alba", "log tail"))
	b.WriteString(as("rita", "matrix"))
	b.WriteString(as("ana", "sessions"))
	b.WriteString(as("ana", "delegate agent:helper --scope model.infer@"+guarded+" --for 10m"))
	b.WriteString(as("adam", "trust ls"))
	b.WriteString(as("alba", "user history user:lea"))
	fmt.Fprintf(&b, "  sallyport verify log %s --key %s\n", s.server.LogDir(), filepath.Join(s.config.Data, "log.vkey"))
	fmt.Fprintf(&b, "\nSign in with a browser at %s/account; passwords and authenticator keys are in %s\n", s.server.External(), s.path("people.txt"))
	b.WriteString("As ravi, add a passkey there: it belongs to this name, so type localhost, not 127.0.0.1. Sign out, and in again with it alone.\n")
	b.WriteString("The passkeys of the story lay in its memory: whoever is asked for one adds another on that page first.\n")
	return b.String()
}
