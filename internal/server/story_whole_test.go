package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/engines"
	"sallyport/verify"
)

// These judge everything that the stories before them did on the shared system.
// Run alone they judge the making of it.

// wholeLog verifies the files of the log and returns its entries.
func (r *story) wholeLog() []sallyport.Logged {
	r.t.Helper()
	head, err := r.As("alba").who.client.Head(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	r.verified(head.Size)
	var all []sallyport.Logged
	_, err = verify.Log(r.t.Context(), verify.Dir(r.server.LogDir()), r.server.LogKey(), verify.Options{Each: func(i uint64, leaf []byte) error {
		l, err := sallyport.DecodeLogged(leaf)
		if err == nil && l.Seq != i {
			err = fmt.Errorf("entry %d says %d", i, l.Seq)
		}
		all = append(all, l)
		return err
	}})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// I-12: every decision of the run, made again from the files of the log alone, is
// the same.
func TestWholeRunI12EveryDecisionReplays(t *testing.T) {
	r := tell(t)
	for _, model := range []string{fraud, base, keel, ghost} {
		r.As("ana").Infer(model)
		r.As("ana").Pull(model)
	}
	log := r.wholeLog()
	var parts []sallyport.Event
	bases := map[string][]byte{}
	for _, l := range log {
		switch l.Type {
		case sallyport.EventPolicy:
			parts = append(parts, l.Event)
		case sallyport.EventFacts:
			bases[l.Facts] = l.Basis
		}
	}
	sources, err := policy.Join(parts)
	if err != nil {
		t.Fatal(err)
	}
	sets := map[string]policy.Engine{}
	outcomes := map[string]int{}
	for _, l := range log {
		if l.Type != sallyport.EventDecided {
			continue
		}
		b, err := decision.Unmarshal(bases[l.Facts])
		if err != nil {
			t.Fatalf("%s: its facts: %v", l.Decision, err)
		}
		if sets[b.Policy] == nil {
			if sets[b.Policy], err = engines.Compile(sources[b.Policy]); err != nil || sets[b.Policy].Version() != b.Policy {
				t.Fatalf("the set %s of %s: %v", b.Policy, l.Decision, err)
			}
		}
		d, err := decision.Again(sets[b.Policy], l.Event, func(hash string) []byte { return bases[hash] })
		if err != nil {
			t.Fatalf("%s: %v", l.Decision, err)
		}
		var obligations []string
		for _, o := range d.Obligations {
			obligations = append(obligations, o.String())
		}
		if d.Outcome.String() != l.Outcome || !slices.Equal(d.ReasonIDs(), l.Reasons) || !slices.Equal(d.Errors, l.Errors) || !slices.Equal(obligations, l.Obligations) {
			t.Errorf("%s by %s, %s on %s: %s because of %q %q, made again %s because of %q %q", l.Decision, l.Who, l.Action, l.On,
				l.Outcome, l.Reasons, l.Obligations, d.Outcome, d.ReasonIDs(), obligations)
		}
		outcomes[l.Outcome]++
	}
	t.Logf("%d entries, %d sets, decisions %v", len(log), len(sets), outcomes)
	if outcomes[allowed] == 0 || outcomes[denied] == 0 {
		t.Error("nothing was replayed")
	}
}

// I-01: what reached the upstream was permitted and written down before; what was
// answered with success is written down as completed; what was permitted has an end.
func TestWholeRunI01NoEffectWithoutRecord(t *testing.T) {
	r := tell(t)
	r.As("ana").Infer(base)
	permitted, completed := map[string]sallyport.Logged{}, map[string]sallyport.Logged{}
	soon(func() bool {
		clear(permitted)
		for _, l := range r.wholeLog() {
			switch {
			case l.Type == sallyport.EventDecided && l.Outcome == allowed:
				permitted[l.Decision] = l
			case l.Type == sallyport.EventCompleted:
				completed[l.Decision] = l
			}
		}
		return len(completed)+1 >= len(permitted) // the reading of the head may be under way
	})
	for _, got := range r.up.requests() {
		l, ok := permitted[got.id]
		if !ok || l.Action != sallyport.ModelInfer && l.Action != sallyport.ModelEmbed {
			t.Errorf("a request with the id %q reached the upstream: %+v", got.id, l.Event)
		}
		if want := "served-" + strings.TrimPrefix(strings.Split(l.On, "@")[0], "acme/"); !bytes.Contains(got.body, []byte(want)) {
			t.Errorf("%s was decided on %s, and forwarded as %s", got.id, l.On, got.body)
		}
	}
	r.mu.Lock()
	served := slices.Clone(r.served)
	r.mu.Unlock()
	for _, id := range served {
		if _, ok := completed[id]; !ok {
			t.Errorf("%s was answered with success, and its end is not in the log", id)
		}
	}
	for id, l := range permitted {
		if c, ok := completed[id]; !ok && l.Who != "user:alba" {
			t.Errorf("%s (%s by %s) has no end", id, l.Action, l.Who)
		} else if ok && c.Seq < l.Seq {
			t.Errorf("%s ended before it was decided", id)
		}
	}
	t.Logf("%d permitted, %d completed, %d reached the upstream, %d answered with success", len(permitted), len(completed), len(r.up.requests()), len(served))
}

// forms are the spellings in which a secret could lie somewhere.
func forms(s string) []string {
	all := []string{s, hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s))), url.QueryEscape(s), url.PathEscape(s)}
	for shift := range 3 { // wherever it stands in what was encoded
		padded := append(make([]byte, shift), s...)
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := e.EncodeToString(padded)
			all = append(all, text[(shift*8+5)/6:len(text)-len(text)%4])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// A hunt looks for many needles at once.
type hunt struct {
	first   [1 << 16]bool
	needles map[[8]byte][]needle
}

type needle struct {
	text []byte
	name string
}

func newHunt(secrets map[string]string) *hunt {
	h := &hunt{needles: map[[8]byte][]needle{}}
	for s, name := range secrets {
		for _, f := range forms(s) {
			if len(f) < 8 {
				continue
			}
			h.first[int(f[0])<<8|int(f[1])] = true
			key := [8]byte([]byte(f[:8]))
			h.needles[key] = append(h.needles[key], needle{[]byte(f), name})
		}
	}
	return h
}

// find returns the names of the secrets that text holds.
func (h *hunt) find(text []byte) []string {
	var found []string
	for i := 0; i+8 <= len(text); i++ {
		if !h.first[int(text[i])<<8|int(text[i+1])] {
			continue
		}
		for _, n := range h.needles[[8]byte(text[i:i+8])] {
			if bytes.HasPrefix(text[i:], n.text) && !slices.Contains(found, n.name) {
				found = append(found, n.name)
			}
		}
	}
	return found
}

// wantNoSecrets hunts for every secret that the system has met: in the data directory (the database, the journal and the log
// among it), beside the keys, in the operator's log, in refusals, and in the arguments of programs. It returns what it looked at.
func (r *story) wantNoSecrets() (*hunt, map[string][]byte) {
	r.t.Helper()
	secrets := r.canaries.all()
	h := newHunt(secrets)
	planted := r.canaries.add("one that is there")
	if got := newHunt(map[string]string{planted: "planted"}).find([]byte("x" + base64.StdEncoding.EncodeToString([]byte("ab"+planted)))); !slices.Equal(got, []string{"planted"}) {
		r.t.Fatalf("the hunt finds %q where a secret is", got)
	}
	places := map[string][]byte{"the operator's log": r.logs.Bytes()}
	r.mu.Lock()
	places["refusals"] = bytes.Clone(r.errors.Bytes())
	r.mu.Unlock()
	patterns, err := filepath.Glob("/proc/[0-9]*/cmdline") // none where there is no such directory
	if err != nil {
		r.t.Fatal(err)
	}
	for _, path := range patterns {
		if text, err := os.ReadFile(path); err == nil { // it may have ended
			places[path] = text
		}
	}
	for _, dir := range []string{r.config.Data, filepath.Dir(r.config.KeyFile)} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			places[path] = text
			return err
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	seen := 0
	for where, text := range places {
		seen += len(text)
		for _, name := range h.find(text) {
			r.t.Errorf("%s holds the %s", where, name)
		}
	}
	kinds := map[string]int{}
	for _, name := range secrets {
		kind, _, _ := strings.Cut(name, " of ")
		kinds[kind]++
	}
	r.t.Logf("%d secrets %v, not found in %d places, %d MiB", len(secrets), kinds, len(places), seen>>20)
	return h, places
}

// I-16: no secret of the run lies in the data directory, beside the keys, in the
// operator's log, or in a refusal, in any spelling.
func TestWholeRunI16NoSecretLiesAround(t *testing.T) {
	r := tell(t)
	r.As("ana") // with all her tokens
	for _, d := range client.Doors() {
		if _, err := r.As("ana").who.token(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	prompt := r.canaries.add("prompt")
	for _, model := range []string{base, keel} { // permitted and refused
		r.As("ana").Send(request{door: client.OpenAI, method: http.MethodPost, path: "/openai/v1/chat/completions",
			body: fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]}`, model, prompt)})
	}
	r.As("ana").Send(request{door: client.OpenAI, method: http.MethodPost, path: "/openai/v1/chat/completions",
		body: fmt.Sprintf(`{"model":"acme/base","model":"x","messages":[{"role":"user","content":%q}]}`, prompt)})
	r.WantStatus(400)
	h, places := r.wantNoSecrets()
	keyed, prompted := 0, 0
	for _, got := range r.up.requests() {
		if got.header.Get("Authorization") == "Bearer "+r.up.key {
			keyed++
		}
		header := fmt.Sprint(got.header)
		for _, name := range h.find(append([]byte(header), got.body...)) {
			switch name {
			case "upstream key": // it is the upstream's own
			case "prompt":
				prompted++
			default:
				t.Errorf("the upstream got the %s", name)
			}
		}
	}
	if keyed != len(r.up.requests()) || prompted != 1 {
		t.Errorf("of %d requests the upstream got its key in %d, and the prompt in %d", len(r.up.requests()), keyed, prompted)
	}
	// The weights do not lie there either.
	plain := modelFiles(base, 256<<10)[weights][4096:4160]
	for where, text := range places {
		if bytes.Contains(text, plain) {
			t.Errorf("%s holds weights in plaintext", where)
		}
	}
}
