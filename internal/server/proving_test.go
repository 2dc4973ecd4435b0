package server

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/identity/blocklist"
	"sallyport/internal/identity/credential"
)

func TestProvingConfig(t *testing.T) {
	c, err := ParseConfig([]byte("data: d\nkey_file: k\nassurance_profile: aal3\nblocklist: list.bin\nrecovery: {delay: 2h}\n"))
	if err != nil {
		t.Fatal(err)
	}
	c = c.below("/etc/sallyport")
	if c, err = c.check(); err != nil || c.profile.Name != "aal3" || c.Recovery.Delay != 2*time.Hour || c.Blocklist != "/etc/sallyport/list.bin" {
		t.Errorf("%+v, %v", c.Proving, err)
	}
	if c, err = (Config{Data: "d", KeyFile: "k"}).check(); err != nil || c.profile.Name != "aal2" || c.Recovery.Delay != 24*time.Hour {
		t.Errorf("defaults %+v, %v", c.Proving, err)
	}
	for _, bad := range []string{"assurance_profile: aal1", "recovery: {delay: 1m}", "recovery: {delay: 900h}", "recovery: {days: 2}", "recovery: {recoverers: [ana]}", "recovery: {recoverers: ['service:ci']}", "recovery: {recoverers: ['group:staff']}", "recovery: {recoverers: ['']}", "proving: {}"} {
		c, err := ParseConfig([]byte("data: d\nkey_file: k\n" + bad + "\n"))
		if err == nil {
			_, err = c.check()
		}
		if err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestBlocklistFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.bin")
	open := func() (*credential.Service, error) {
		s := &Server{config: Config{Proving: Proving{Blocklist: path}}}
		s.rooms.credentials = &credential.Service{}
		err := s.openBlocklist()
		for _, c := range s.closers {
			t.Cleanup(func() { c() })
		}
		return s.rooms.credentials, err
	}
	if _, err := open(); err == nil {
		t.Error("a list that is not there is opened")
	}
	if err := os.WriteFile(path, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); err == nil {
		t.Error("something else is opened")
	}
	var list bytes.Buffer
	if _, err := blocklist.Build(&list, strings.NewReader("5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:1\n")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, list.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := open()
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{"password": true, "Password": false} {
		if known, err := c.Breached([]byte(password)); err != nil || known != want {
			t.Errorf("%s: %v, %v", password, known, err)
		}
	}
}
