package signed_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport"
	"sallyport/internal/authz/approval/signed"
)

const (
	party  = "sallyport.example"
	origin = "https://sallyport.example"
	risk   = "group:acme/risk"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A holder is somebody with an approver's key.
type holder struct {
	key    signed.Key
	signer crypto.Signer
}

func newHolder(t testing.TB, name string, groups ...string) *holder {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return holderOf(t, name, private, -7, groups...)
}

func holderOf(t testing.TB, name string, signer crypto.Signer, algorithm int64, groups ...string) *holder {
	t.Helper()
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &holder{signer: signer, key: signed.Key{Credential: []byte("credential of " + name), Person: sallyport.PrincipalID("user:" + name), Groups: groups,
		Algorithm: algorithm, Public: public, Party: party, Origin: origin}}
}

// A forge is what an assertion is made of, to be spoilt.
type forge struct {
	kind, origin, party string
	flags               byte
	challenge           []byte
	client              map[string]any // members beside the usual ones
}

// sign answers like an authenticator, with what a test spoils.
func (h *holder) sign(t testing.TB, challenge [32]byte, spoil ...func(*forge)) *signed.Signature {
	t.Helper()
	f := forge{"webauthn.get", origin, party, 0x05, challenge[:], map[string]any{"crossOrigin": false}}
	for _, s := range spoil {
		s(&f)
	}
	f.client["type"], f.client["origin"], f.client["challenge"] = f.kind, f.origin, base64.RawURLEncoding.EncodeToString(f.challenge)
	client, err := json.Marshal(f.client)
	if err != nil {
		t.Fatal(err)
	}
	rp := sha256.Sum256([]byte(f.party))
	data := binary.BigEndian.AppendUint32(append(rp[:], f.flags), 7)
	hash := sha256.Sum256(client)
	message := append(bytes.Clone(data), hash[:]...)
	digest := sha256.Sum256(message)
	var raw []byte
	switch h.signer.(type) {
	case ed25519.PrivateKey:
		raw, err = h.signer.Sign(rand.Reader, message, crypto.Hash(0))
	default:
		raw, err = h.signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &signed.Signature{Credential: h.key.Credential, Data: data, Client: client, Signature: raw}
}

// vote is a signed yes.
func (h *holder) vote(t testing.TB, q signed.Question, at time.Time, groups ...string) signed.Vote {
	t.Helper()
	v := signed.Vote{Voter: h.key.Person, Person: h.key.Person, Yes: true, At: at, Groups: groups}
	v.Signature = h.sign(t, signed.Challenge(q, v))
	return v
}

func ask() signed.Question {
	return signed.Question{ID: "R-0123456789", Topic: "grant", Asker: "service:bot", AskerPerson: "user:ana", Subject: "bot wants it",
		Canonical: []byte(`{"actions":["model.pull"],"ref":"acme/fraud","seconds":3600}`), Need: 1, Approvers: "others", Policy: "sha256:one", Nonce: "00112233445566778899aabbccddeeff",
		Created: start, Expires: start.Add(time.Hour)}
}

// TestForgeries: what anybody without the right key at the right time can make of a good approval is refused, each for its
// own reason.
func TestForgeries(t *testing.T) {
	bob, eve, mallory := newHolder(t, "bob", risk), newHolder(t, "eve"), newHolder(t, "mallory")
	mallory.key.Since = start.Add(30 * time.Minute) // enrolled later
	gone := newHolder(t, "gone")
	gone.key.Until = start.Add(time.Minute)
	second := newHolder(t, "bob")
	second.key.Credential = []byte("another credential of bob")
	anas := newHolder(t, "ana")
	keys := signed.Keys{bob.key, eve.key, mallory.key, gone.key, second.key, anas.key}
	at := start.Add(10 * time.Minute)
	good := func() (signed.Question, []signed.Vote) {
		q := ask()
		return q, []signed.Vote{bob.vote(t, q, at)}
	}
	if q, votes := good(); signed.Verify(q, votes, keys) != nil {
		t.Fatal(signed.Verify(q, votes, keys))
	}
	resign := func(h *holder, q signed.Question, v *signed.Vote, spoil ...func(*forge)) {
		v.Signature = h.sign(t, signed.Challenge(q, *v), spoil...)
	}
	for name, forge := range map[string]struct {
		make func(q *signed.Question, votes *[]signed.Vote)
		want string
	}{
		"a swapped scope": {func(q *signed.Question, _ *[]signed.Vote) {
			q.Canonical = bytes.Replace(q.Canonical, []byte("fraud"), []byte("other"), 1)
		}, signed.ReasonSignature},
		"a longer time": {func(q *signed.Question, _ *[]signed.Vote) {
			q.Canonical = bytes.Replace(q.Canonical, []byte("3600"), []byte("9600"), 1)
		}, signed.ReasonSignature},
		"another nonce: a replay": {func(q *signed.Question, _ *[]signed.Vote) { q.Nonce = "ffeeddccbbaa99887766554433221100" }, signed.ReasonSignature},
		"another request's id":    {func(q *signed.Question, _ *[]signed.Vote) { q.ID = "R-9876543210" }, signed.ReasonSignature},
		"another topic":           {func(q *signed.Question, _ *[]signed.Vote) { q.Topic = "policy" }, signed.ReasonSignature},
		"another policy version":  {func(q *signed.Question, _ *[]signed.Vote) { q.Policy = "sha256:two" }, signed.ReasonSignature},
		"another asker":           {func(q *signed.Question, _ *[]signed.Vote) { q.Asker = "service:other" }, signed.ReasonSignature},
		"fewer people":            {func(q *signed.Question, _ *[]signed.Vote) { q.Need = 0 }, signed.ReasonQuorum},
		"more time to vote":       {func(q *signed.Question, _ *[]signed.Vote) { q.Expires = q.Expires.Add(time.Hour) }, signed.ReasonSignature},
		"nobody at all":           {func(_ *signed.Question, v *[]signed.Vote) { *v = nil }, signed.ReasonQuorum},
		"no signature":            {func(_ *signed.Question, v *[]signed.Vote) { (*v)[0].Signature = nil }, signed.ReasonUnsigned},
		"a no that became yes": {func(q *signed.Question, v *[]signed.Vote) {
			(*v)[0].Yes = false
			resign(bob, *q, &(*v)[0])
			(*v)[0].Yes = true
		}, signed.ReasonSignature},
		"a no":                     {func(q *signed.Question, v *[]signed.Vote) { (*v)[0].Yes = false; resign(bob, *q, &(*v)[0]) }, signed.ReasonQuorum},
		"another reason":           {func(_ *signed.Question, v *[]signed.Vote) { (*v)[0].Reason = "because" }, signed.ReasonSignature},
		"another time of the vote": {func(_ *signed.Question, v *[]signed.Vote) { (*v)[0].At = (*v)[0].At.Add(time.Microsecond) }, signed.ReasonSignature},
		"more groups":              {func(_ *signed.Question, v *[]signed.Vote) { (*v)[0].Groups = []string{risk} }, signed.ReasonSignature},
		"a group that the key is not for": {func(q *signed.Question, v *[]signed.Vote) {
			*v = []signed.Vote{eve.vote(t, *q, at, risk)}
		}, signed.ReasonKey},
		"a cloned vote under another name": {func(_ *signed.Question, v *[]signed.Vote) { (*v)[0].Voter, (*v)[0].Person = "user:eve", "user:eve" }, signed.ReasonKey},
		"a cloned vote beside its own": {func(q *signed.Question, v *[]signed.Vote) {
			q.Need = 2
			*v = []signed.Vote{bob.vote(t, *q, at), bob.vote(t, *q, at)}
		}, signed.ReasonQuorum},
		"one person with two keys": {func(q *signed.Question, v *[]signed.Vote) {
			q.Need = 2
			*v = []signed.Vote{bob.vote(t, *q, at), second.vote(t, *q, at)}
		}, signed.ReasonQuorum},
		"the asker's own key": {func(q *signed.Question, v *[]signed.Vote) { *v = []signed.Vote{anas.vote(t, *q, at)} }, signed.ReasonQuorum},
		"a second account of the asker": {func(q *signed.Question, v *[]signed.Vote) {
			one := signed.Vote{Voter: "user:ana.two", Person: "user:ana", Yes: true, At: at}
			resign(anas, *q, &one)
			*v = []signed.Vote{one}
		}, signed.ReasonQuorum},
		"a service that votes": {func(q *signed.Question, v *[]signed.Vote) {
			one := signed.Vote{Voter: "service:cron", Person: "user:bob", Yes: true, At: at}
			resign(bob, *q, &one)
			*v = []signed.Vote{one}
		}, signed.ReasonKey},
		"the asking service itself": {func(q *signed.Question, v *[]signed.Vote) {
			one := signed.Vote{Voter: "service:bot", Person: "user:bob", Yes: true, At: at}
			resign(bob, *q, &one)
			*v = []signed.Vote{one}
		}, signed.ReasonQuorum},
		"a key that came later":    {func(q *signed.Question, v *[]signed.Vote) { *v = []signed.Vote{mallory.vote(t, *q, at)} }, signed.ReasonKey},
		"a key that had ended":     {func(q *signed.Question, v *[]signed.Vote) { *v = []signed.Vote{gone.vote(t, *q, at)} }, signed.ReasonKey},
		"a key of nobody":          {func(q *signed.Question, v *[]signed.Vote) { *v = []signed.Vote{newHolder(t, "nobody").vote(t, *q, at)} }, signed.ReasonKey},
		"a key under a known name": {func(q *signed.Question, v *[]signed.Vote) { *v = []signed.Vote{newHolder(t, "bob").vote(t, *q, at)} }, signed.ReasonSignature},
		"too late":                 {func(q *signed.Question, v *[]signed.Vote) { *v = []signed.Vote{bob.vote(t, *q, q.Expires)} }, signed.ReasonSignature},
		"too early": {func(q *signed.Question, v *[]signed.Vote) {
			*v = []signed.Vote{bob.vote(t, *q, q.Created.Add(-time.Second))}
		}, signed.ReasonSignature},
		"another page": {func(q *signed.Question, v *[]signed.Vote) {
			resign(bob, *q, &(*v)[0], func(f *forge) { f.origin = "https://evil.example" })
		}, signed.ReasonSignature},
		"a frame of another page": {func(q *signed.Question, v *[]signed.Vote) {
			resign(bob, *q, &(*v)[0], func(f *forge) { f.client["crossOrigin"] = true })
		}, signed.ReasonSignature},
		"inside another page": {func(q *signed.Question, v *[]signed.Vote) {
			resign(bob, *q, &(*v)[0], func(f *forge) { f.client["topOrigin"] = "https://evil.example" })
		}, signed.ReasonSignature},
		"another site's key": {func(q *signed.Question, v *[]signed.Vote) {
			resign(bob, *q, &(*v)[0], func(f *forge) { f.party = "evil.example" })
		}, signed.ReasonSignature},
		"a sign-in": {func(q *signed.Question, v *[]signed.Vote) {
			resign(bob, *q, &(*v)[0], func(f *forge) { f.challenge = []byte("a sign-in's challenge") })
		}, signed.ReasonSignature},
		"a registration": {func(q *signed.Question, v *[]signed.Vote) {
			resign(bob, *q, &(*v)[0], func(f *forge) { f.kind = "webauthn.create" })
		}, signed.ReasonSignature},
		"an unverified user": {func(q *signed.Question, v *[]signed.Vote) {
			resign(bob, *q, &(*v)[0], func(f *forge) { f.flags = 0x01 })
		}, signed.ReasonSignature},
		"nobody present": {func(q *signed.Question, v *[]signed.Vote) {
			resign(bob, *q, &(*v)[0], func(f *forge) { f.flags = 0x04 })
		}, signed.ReasonSignature},
		"two challenges in one": {func(_ *signed.Question, v *[]signed.Vote) {
			s := (*v)[0].Signature
			s.Client = append([]byte(`{"Challenge":"x",`), s.Client[1:]...)
		}, signed.ReasonSignature},
		"a question of before there were nonces": {func(q *signed.Question, v *[]signed.Vote) {
			q.Nonce, q.Policy = "", ""
			*v = []signed.Vote{bob.vote(t, *q, at)}
		}, signed.ReasonUnsigned},
	} {
		q, votes := good()
		forge.make(&q, &votes)
		err := signed.Verify(q, votes, keys)
		if err == nil || sallyport.ReasonOf(err) != forge.want {
			t.Errorf("%s: %v (%s), want %s", name, err, sallyport.ReasonOf(err), forge.want)
		}
	}
}

// TestOneChangedByte: no byte of a signature may be another, but the signature's own unused freedom.
func TestOneChangedByte(t *testing.T) {
	bob := newHolder(t, "bob")
	q := ask()
	v := bob.vote(t, q, start.Add(time.Minute))
	for part, bytesOf := range map[string]func(*signed.Signature) []byte{
		"credential": func(s *signed.Signature) []byte { return s.Credential }, "data": func(s *signed.Signature) []byte { return s.Data },
		"client": func(s *signed.Signature) []byte { return s.Client }, "signature": func(s *signed.Signature) []byte { return s.Signature },
	} {
		n := len(bytesOf(v.Signature))
		for i := range n {
			s := signed.Signature{Credential: slices.Clone(v.Signature.Credential), Data: slices.Clone(v.Signature.Data), Client: slices.Clone(v.Signature.Client), Signature: slices.Clone(v.Signature.Signature)}
			bytesOf(&s)[i] ^= 1
			changed := v
			changed.Signature = &s
			if signed.Verify(q, []signed.Vote{changed}, signed.Keys{bob.key}) == nil {
				t.Errorf("byte %d of the %s may be another", i, part)
			}
		}
	}
}

// TestAlgorithms: what authenticators have, and nothing under another's name.
func TestAlgorithms(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("this system makes no weak keys: " + err.Error())
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		signer    crypto.Signer
		algorithm int64
		good      bool
	}{{ed, -8, true}, {big, -257, true}, {small, -257, false}, {ed, -7, false}, {big, -7, false}, {p384, -7, false}, {big, -37, false}, {ed, 0, false}} {
		h := holderOf(t, "bob", test.signer, test.algorithm)
		q := ask()
		err := signed.Verify(q, []signed.Vote{h.vote(t, q, start.Add(time.Minute))}, signed.Keys{h.key})
		if (err == nil) != test.good || (h.key.Check() == nil) != test.good {
			t.Errorf("%T as %d: %v, %v", test.signer, test.algorithm, err, h.key.Check())
		}
	}
}

// TestQuorumsAreFilledByDifferentPeople compares the matching with trying every assignment.
func TestQuorumsAreFilledByDifferentPeople(t *testing.T) {
	groups := []string{risk, "group:acme/ops", sallyport.Owners}
	rapid.Check(t, func(t *rapid.T) {
		var rule []sallyport.Quorum
		var seats []string
		for _, g := range groups {
			if n := rapid.IntRange(0, 2).Draw(t, g); n > 0 {
				rule = append(rule, sallyport.Quorum{Group: g, Need: n})
				for range n {
					seats = append(seats, g)
				}
			}
		}
		people := make([][]string, rapid.IntRange(0, 5).Draw(t, "people"))
		for i := range people {
			for _, g := range groups {
				if rapid.Bool().Draw(t, "in") {
					people[i] = append(people[i], g)
				}
			}
		}
		var try func(seat int, used map[int]bool) bool
		try = func(seat int, used map[int]bool) bool {
			if seat == len(seats) {
				return true
			}
			for i := range people {
				if !used[i] && slices.Contains(people[i], seats[seat]) {
					used[i] = true
					if try(seat+1, used) {
						return true
					}
					delete(used, i)
				}
			}
			return false
		}
		if got, want := signed.Reached(rule, people), try(0, map[int]bool{}); got != want {
			t.Fatalf("%v by %v: %v, want %v", rule, people, got, want)
		}
	})
}

// enrol is an approved entry that follows entries.
func enrol(t testing.TB, entries []signed.Entry, c signed.Change, need int, at time.Time, voters ...*holder) signed.Entry {
	t.Helper()
	canonical, err := c.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	q := signed.Question{ID: "R-" + signed.KeyID(c.Key.Credential)[3:13], Topic: signed.Topic, Asker: c.Key.Person, AskerPerson: c.Key.Person, Subject: "a key", Canonical: canonical, Need: need,
		Approvers: "approvers", Nonce: "00112233445566778899aabbccddeeff", Created: at.Add(-time.Minute), Expires: at.Add(time.Hour)}
	e := signed.Entry{Change: c, At: at, Question: &q}
	for _, v := range voters {
		e.Votes = append(e.Votes, v.vote(t, q, at))
	}
	if n := len(entries); n > 0 {
		e.Prev = entries[n-1].Hash()
	}
	return e
}

// TestChain: whose keys count can be walked by anybody, and nobody gets into it but by those before them.
func TestChain(t *testing.T) {
	adam, bob, eve, joe := newHolder(t, "adam"), newHolder(t, "bob"), newHolder(t, "eve"), newHolder(t, "joe")
	change := func(h *holder) signed.Change { return signed.Change{Act: signed.Enrol, Key: h.key} }
	at := func(hours int) time.Time { return start.Add(time.Duration(hours) * time.Hour) }
	chain := []signed.Entry{{Change: signed.Change{Act: signed.Pin, Key: adam.key}, At: at(0)}}
	chain = append(chain, enrol(t, chain, change(bob), 1, at(1), adam))
	chain = append(chain, enrol(t, chain, change(eve), 2, at(2), adam, bob))
	chain = append(chain, enrol(t, chain, signed.Change{Act: signed.Remove, Key: signed.Key{Credential: bob.key.Credential, Person: "user:bob"}}, 1, at(3), eve))
	keys, head, err := signed.Walk(nil, chain)
	if err != nil || len(keys) != 3 || head != chain[3].Hash() {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	if _, ok := keys.At(bob.key.Credential, at(3)); ok {
		t.Error("a removed key counts")
	}
	if k, ok := keys.At(bob.key.Credential, at(2)); !ok || k.Person != "user:bob" {
		t.Error("what it signed before is void")
	}
	raw, err := json.Marshal(chain)
	if err != nil {
		t.Fatal(err)
	}
	var again []signed.Entry
	if err := json.Unmarshal(raw, &again); err != nil {
		t.Fatal(err)
	}
	if _, other, err := signed.Walk(nil, again); err != nil || other != head {
		t.Errorf("after writing and reading it: %v", err)
	}
	for name, forged := range map[string][]signed.Entry{
		"a second pin":             append(slices.Clone(chain), signed.Entry{Change: signed.Change{Act: signed.Pin, Key: joe.key}, At: at(4), Prev: head}),
		"an own key":               append(slices.Clone(chain), enrol(t, chain, change(joe), 2, at(4), joe, adam)),
		"one where two are needed": append(slices.Clone(chain), enrol(t, chain, change(joe), 1, at(4), adam)),
		"a removed key's vote":     append(slices.Clone(chain), enrol(t, chain, change(joe), 2, at(4), adam, bob)),
		"a middle that is gone":    {chain[0], chain[2], chain[3]},
		"another order":            {chain[0], chain[2], chain[1], chain[3]},
		"no beginning":             chain[1:],
		"a key twice":              append(slices.Clone(chain), enrol(t, chain, change(bob), 2, at(4), adam, eve)),
		"something else than asked": func() []signed.Entry {
			c := slices.Clone(chain)
			c[2].Key.Groups = []string{risk}
			return c
		}(),
		"an earlier time": func() []signed.Entry {
			c := slices.Clone(chain)
			c[3].At = at(2)
			return c
		}(),
		"another first": func() []signed.Entry {
			c := slices.Clone(chain)
			c[0].Key = joe.key
			return c
		}(),
	} {
		if _, _, err := signed.Walk(nil, forged); err == nil {
			t.Errorf("%s is a chain", name)
		}
	}
	if _, _, err := signed.Walk([]signed.Key{joe.key}, chain); err == nil {
		t.Error("a key is pinned although the configuration pins others")
	}
	if _, _, err := signed.Walk([]signed.Key{adam.key}, []signed.Entry{enrol(t, nil, change(bob), 1, at(1), adam)}); err != nil {
		t.Errorf("a chain from the configuration's key: %v", err)
	}
	for range 2 {
		if s := signed.Statement(ask(), signed.Vote{Voter: "user:bob", Yes: true}); !bytes.Contains(s, []byte(`"hash":"`+ask().Hash()+`"`)) || bytes.ContainsAny(s, "\n") {
			t.Errorf("the statement is %s", s)
		}
	}
}

func FuzzVerify(f *testing.F) {
	bob := newHolder(f, "bob")
	q := ask()
	v := bob.vote(f, q, start.Add(time.Minute))
	f.Add(v.Signature.Credential, v.Signature.Data, v.Signature.Client, v.Signature.Signature)
	f.Add([]byte{1}, []byte{}, []byte(`{"type":"webauthn.get","type":"x"}`), []byte{0x30, 0})
	f.Fuzz(func(t *testing.T, credential, data, client, signature []byte) {
		one := v
		one.Signature = &signed.Signature{Credential: credential, Data: data, Client: client, Signature: signature}
		same := bytes.Equal(credential, v.Signature.Credential) && bytes.Equal(data, v.Signature.Data) && bytes.Equal(client, v.Signature.Client)
		if signed.Verify(q, []signed.Vote{one}, signed.Keys{bob.key}) == nil && !same {
			t.Errorf("a signature over something else counts: %x %x %s %x", credential, data, client, signature)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	raw, err := json.Marshal([]signed.Key{newHolder(f, "bob", risk).key})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`[{"person":"user:x"}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		keys, err := signed.ParseKeys(raw)
		if err != nil {
			return
		}
		for _, k := range keys {
			if k.Check() != nil || k.ID() == "" {
				t.Errorf("%s holds a key that is none", raw)
			}
		}
	})
}
