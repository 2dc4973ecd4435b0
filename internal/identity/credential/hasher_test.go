package credential

import (
	"bytes"
	"context"
	"crypto/rand"
	"runtime"
	"strings"
	"sync"
	"testing"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

const pepperText = "a pepper for the tests"

func newHasher(t *testing.T, pepper string, older ...string) *Hasher {
	t.Helper()
	var old []secret.Bytes
	for _, o := range older {
		old = append(old, secret.NewBytes([]byte(o)))
	}
	h, err := NewHasher(secret.NewBytes([]byte(pepper)), old, 4, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// The hashes are argon2-cffi's (the reference implementation in C), over Python's own HMAC.
func TestHashesOfTheReferenceImplementation(t *testing.T) {
	h := newHasher(t, pepperText)
	for stored, wantStale := range map[string]bool{
		"$argon2id$v=19$m=19456,t=2,p=1,keyid=KeeGBQ$AAECAwQFBgcICQoLDA0ODw$HphCSA6qpjzZ2IWA8dbIsYWrYT0L9RBVHb0m8zELxxE": false,
		"$argon2id$v=19$m=8192,t=1,p=2,keyid=KeeGBQ$AAECAwQFBgcICQoLDA0ODw$swUWBp64RaYk2zZaajj9D39jf1HECzK/DQrUlpvkFko":  true,
	} {
		good, stale, err := h.verify(stored, "correct horse battery staple")
		if !good || stale != wantStale || err != nil {
			t.Errorf("verify(%s) = %v, %v, %v; want true, %v", stored, good, stale, err, wantStale)
		}
		good, stale, err = h.verify(stored, "correct horse battery staplf")
		if good || stale || err != nil {
			t.Errorf("verify of another password = %v, %v, %v", good, stale, err)
		}
	}
}

func TestHashesDifferAndVerify(t *testing.T) {
	h := newHasher(t, pepperText)
	one, err := h.hash("a")
	if err != nil {
		t.Fatal(err)
	}
	two, err := h.hash("a")
	if err != nil || one == two {
		t.Errorf("two hashes of one password: %s, %s, %v", one, two, err)
	}
	if good, stale, err := h.verify(two, "a"); !good || stale || err != nil {
		t.Errorf("verify = %v, %v, %v", good, stale, err)
	}
	if good, _, err := h.verify("", "a"); good || err != nil {
		t.Errorf("verify of nobody = %v, %v", good, err)
	}
	if _, _, err := newHasher(t, "another pepper, unknown").verify(one, "a"); err == nil {
		t.Error("a hash under an unknown pepper was verified")
	}
	if _, err := NewHasher(secret.NewBytes([]byte("short")), nil, 0, rand.Reader); err == nil {
		t.Error("a pepper of five bytes was taken")
	}
	if _, err := NewHasher(secret.NewBytes(bytes.Repeat([]byte("x"), 16)), nil, 0, strings.NewReader("no randomness")); err == nil {
		t.Error("a hasher without randomness was made")
	}
}

// PW6: at most as many hashes at once as there are processors; whoever finds the line full is refused at once.
func TestPW6MemoryIsBounded(t *testing.T) {
	h := newHasher(t, pepperText)
	s := &Service{Hasher: h, Policy: DefaultPolicy()}
	var mu sync.Mutex
	running, most := 0, 0
	block := make(chan struct{})
	h.derive = func(_, _ []byte, _, m uint32, _ uint8, n uint32) []byte {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		<-block
		mu.Lock()
		running--
		mu.Unlock()
		return make([]byte, n)
	}
	slots := runtime.GOMAXPROCS(0)
	admitted := slots + 4
	busy, done := make(chan error, 100), make(chan error, 100)
	for range 100 {
		go func() {
			_, err := s.hashOnly(t.Context())
			if err != nil {
				busy <- err
			} else {
				done <- nil
			}
		}()
	}
	for range 100 - admitted { // they are refused while all the others still wait: no time is involved
		if err := <-busy; sallyport.KindOf(err) != sallyport.Busy {
			t.Fatalf("error = %v, want busy", err)
		}
	}
	close(block)
	for range admitted {
		<-done
	}
	if most > slots || most == 0 {
		t.Errorf("%d hashes ran at once, want at most %d", most, slots)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range slots { // take all turns: who then waits without patience leaves the line
		if leave, err := h.enter(t.Context()); err != nil {
			t.Fatal(err)
		} else {
			defer leave()
		}
	}
	if _, err := h.enter(ended); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("enter = %v, want unavailable", err)
	}
	if len(h.line) != slots {
		t.Errorf("%d in line, want %d", len(h.line), slots)
	}
}

func (s *Service) hashOnly(ctx context.Context) (string, error) {
	leave, err := s.Hasher.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	return s.Hasher.hash("x")
}

func TestPHCRefuses(t *testing.T) {
	const good = "$argon2id$v=19$m=19456,t=2,p=1,keyid=KeeGBQ$AAECAwQFBgcICQoLDA0ODw$HphCSA6qpjzZ2IWA8dbIsYWrYT0L9RBVHb0m8zELxxE"
	if p, err := parsePHC(good); err != nil || p.String() != good {
		t.Fatalf("parsePHC = %v, %v", p, err)
	}
	for _, change := range [][2]string{
		{"argon2id", "argon2i"}, {"v=19", "v=16"}, {"m=19456", "m=019456"}, {"m=19456", "m=4"}, {"m=19456", "m=99999999"}, {"t=2", "t=0"}, {"t=2", "t=17"},
		{"p=1", "p=17"}, {"p=1", "p=300"}, {",keyid=KeeGBQ", ""}, {"keyid=KeeGBQ", "keyid="}, {"m=19456,t=2", "t=2,m=19456"}, {"AAECAwQFBgcICQoLDA0ODw", "AAEC"},
		{"xxE", "xx"}, {"xxE", "xxF"}, {"xxE", "xxE="}, {"xxE", "xxE$"}, {"$argon2id", "argon2id"}, {"KeeGBQ", "KeeGBR"}, {good, ""},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if p, err := parsePHC(text); err == nil {
			t.Errorf("parsePHC(%q) = %v, want an error", text, p)
		}
	}
}

// FuzzParsePHC: no text makes it fail badly, and a hash has one spelling.
func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1,keyid=KeeGBQ$AAECAwQFBgcICQoLDA0ODw$HphCSA6qpjzZ2IWA8dbIsYWrYT0L9RBVHb0m8zELxxE")
	f.Add("$argon2id$v=19$m=8,t=1,p=1,keyid=AAAAAA$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parsePHC(s); err == nil && (p.String() != s || p.cost.memory > mostMemory || p.cost.passes > mostPasses) {
			t.Errorf("parsePHC(%q) = %v", s, p)
		}
	})
}

// PW5, the cost: somebody unknown is checked as one would be who is there: one hash, of the same parameters.
func TestPW5SameCostForNobody(t *testing.T) {
	h := newHasher(t, pepperText)
	type work struct {
		memory, passes uint32
		threads        uint8
		salt, out      int
	}
	var done []work
	h.derive = func(_, salt []byte, passes, memory uint32, threads uint8, n uint32) []byte {
		done = append(done, work{memory, passes, threads, len(salt), int(n)})
		return make([]byte, n)
	}
	stored, err := h.hash("somebody's")
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{stored, ""} {
		if _, _, err := h.verify(hash, "guess"); err != nil {
			t.Fatal(err)
		}
	}
	if len(done) != 3 || done[1] != done[2] || done[0] != done[1] {
		t.Errorf("work for hashing, a person and nobody: %+v", done)
	}
}
