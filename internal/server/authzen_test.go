package server_test

import (
	"testing"

	"sallyport/internal/server"
)

// TestAuthZENConfigurationIsStrict: what cannot be meant does not start.
func TestAuthZENConfigurationIsStrict(t *testing.T) {
	const point = "authzen: {points: [{service: mesh, "
	const ask = "authzen: {ask: [{name: corp, url: 'https://pdp.test/access/v1/evaluation', token_file: t, actions: [model.pull], "
	for name, text := range map[string]string{
		"an unknown key":                  point + "trust: all}]}",
		"no service's name":               "authzen: {points: [{service: 'user:ana'}]}",
		"twice":                           "authzen: {points: [{service: mesh}, {service: mesh}]}",
		"a word that is not believed":     point + "assurance: aal1}]}",
		"no such assurance":               point + "believed: true, assurance: best}]}",
		"no such obligation":              point + "obligations: [dance]}]}",
		"no such dictionary":              point + "dictionary: todo}]}",
		"a dictionary that means nothing": "authzen: {dictionaries: {d: {actions: [{id: [x], is: fly}]}}}",
		"plaintext elsewhere":             "authzen: {ask: [{name: corp, url: 'http://pdp.test/x', token_file: t, actions: [model.pull]}]}",
		"no actions":                      "authzen: {ask: [{name: corp, url: 'https://pdp.test/x', token_file: t}]}",
		"no token":                        "authzen: {ask: [{name: corp, url: 'https://pdp.test/x', actions: [model.pull]}]}",
		"no such action":                  "authzen: {ask: [{name: corp, url: 'https://pdp.test/x', token_file: t, actions: [fly]}]}",
		"an endless wait":                 ask + "wait: 1h}]}",
	} {
		c, err := server.ParseConfig([]byte("listen: 127.0.0.1:0\ndata: d\nkey_file: k\n" + text))
		if err != nil {
			continue
		}
		c.Data, c.KeyFile = t.TempDir(), t.TempDir()+"/k"
		if s, err := server.Start(t.Context(), c, nil); err == nil {
			t.Errorf("%s: started", name)
			_ = s.Close()
		}
	}
}
