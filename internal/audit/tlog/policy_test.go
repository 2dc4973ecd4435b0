package tlog

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// key is a log's or a witness's key.
type key struct {
	vkey   string
	signer note.Signer
}

func newKey(t testing.TB, name string) key {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return key{vkey, signer}
}

func newWitness(t testing.TB, name string) key {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	return key{vkey, signer}
}

func sign(t testing.TB, text string, signers ...note.Signer) []byte {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func mustPolicy(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := ParsePolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOpenCheckpoint(t *testing.T) {
	log, other := newKey(t, "sallyport.test/log"), newKey(t, "sallyport.test/log")
	stranger := newKey(t, "sallyport.test/other")
	p := mustPolicy(t, log.vkey)
	c := Checkpoint{Origin: "sallyport.test/log", Size: 42, Root: LeafHash([]byte("x"))}
	if got, err := p.Open(sign(t, c.Text(), log.signer, stranger.signer)); err != nil || got != c {
		t.Errorf("open: %+v, %v", got, err)
	}
	good := sign(t, c.Text(), log.signer)
	for i := range good { // no byte may change; a spare bit in the base64 of the signature says nothing
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if got, err := p.Open(bad); err == nil && (i < len(c.Text()) || got != c) {
			t.Errorf("byte %d changed: %+v", i, got)
		}
	}
	root := c.Root.String()
	for what, signed := range map[string][]byte{
		"another key":       sign(t, c.Text(), other.signer),
		"another origin":    sign(t, strings.Replace(c.Text(), "/log", "/other", 1), log.signer),
		"leading zero":      sign(t, "sallyport.test/log\n042\n"+root+"\n", log.signer),
		"signed size":       sign(t, "sallyport.test/log\n+42\n"+root+"\n", log.signer),
		"short root":        sign(t, "sallyport.test/log\n42\n"+base64.StdEncoding.EncodeToString([]byte("short"))+"\n", log.signer),
		"no root":           sign(t, "sallyport.test/log\n42\n", log.signer),
		"huge size":         sign(t, "sallyport.test/log\n18446744073709551616\n"+root+"\n", log.signer),
		"root of empty":     sign(t, "sallyport.test/log\n0\n"+root+"\n", log.signer),
		"empty extension":   sign(t, c.Text()+"\n", log.signer),
		"base64 not strict": sign(t, "sallyport.test/log\n42\n"+root[:42]+"B=\n", log.signer),
		"nothing":           nil,
		"too long":          make([]byte, MaxCheckpointSize+1),
	} {
		if got, err := p.Open(signed); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if got, err := p.Open(sign(t, c.Text()+"extension\n", log.signer)); err != nil || got != c {
		t.Errorf("extension line: %+v, %v", got, err)
	}
	for _, p := range []*Policy{nil, {}} {
		if _, err := p.Open(good); err == nil {
			t.Error("an empty policy believed a checkpoint")
		}
	}
}

func TestQuorumOfWitnesses(t *testing.T) {
	log := newKey(t, "sallyport.test/log")
	w := []key{newWitness(t, "w1"), newWitness(t, "w2"), newWitness(t, "w3"), newWitness(t, "w4")}
	head := "# who watches\nlog " + log.vkey + " https://log.example/\n"
	for i := range w {
		head += fmt.Sprintf("\twitness w%d %s\n", i+1, w[i].vkey)
	}
	c := Checkpoint{Origin: "sallyport.test/log", Size: 7, Root: LeafHash(nil)}
	for rule, sets := range map[string]map[string]bool{
		"quorum none\n":                  {"": true, "1": true},
		"quorum w2\n":                    {"": false, "1": false, "2": true},
		"group g 2 w1 w2 w3\nquorum g\n": {"1": false, "12": true, "34": false, "23": true, "123": true},
		"group g all w1 w2\ngroup h any w3 w4\ngroup q all g h\nquorum q\n": {"12": false, "134": false, "124": true, "1234": true},
	} {
		p := mustPolicy(t, head+rule)
		for set, want := range sets {
			signers := []note.Signer{log.signer}
			for _, r := range set {
				signers = append(signers, w[r-'1'].signer)
			}
			if _, err := p.Open(sign(t, c.Text(), signers...)); (err == nil) != want {
				t.Errorf("%q with witnesses %q: %v", rule, set, err)
			}
			if len(signers) > 1 {
				if _, err := p.Open(sign(t, c.Text(), signers[1:]...)); err == nil {
					t.Errorf("%q with witnesses %q and without the log: accepted", rule, set)
				}
			}
			if _, err := p.WithoutQuorum().Open(sign(t, c.Text(), signers...)); err != nil {
				t.Errorf("without quorum: %v", err)
			}
		}
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	log, w1, w2 := newKey(t, "sallyport.test/log").vkey, newWitness(t, "w1").vkey, newWitness(t, "w2").vkey
	head := "log " + log + "\nwitness a " + w1 + "\nwitness b " + w2 + "\n"
	for what, text := range map[string]string{
		"nothing":            "",
		"bad key":            "sallyport.test/log+00000000+AAAA",
		"changed key":        strings.Replace(log, "+", "+0", 1),
		"no quorum":          head,
		"no log":             "quorum none\n",
		"two quorums":        head + "quorum a\nquorum b\n",
		"unknown quorum":     head + "quorum c\n",
		"unknown member":     head + "group g any a c\nquorum g\n",
		"member twice":       head + "group g any a a\nquorum g\n",
		"member of two":      head + "group g any a\ngroup h any a\nquorum h\n",
		"itself":             head + "group g any g\nquorum g\n",
		"threshold 0":        head + "group g 0 a b\nquorum g\n",
		"threshold 3":        head + "group g 3 a b\nquorum g\n",
		"threshold 01":       head + "group g 01 a b\nquorum g\n",
		"no members":         head + "group g any\nquorum g\n",
		"name taken":         head + "group a any b\nquorum a\n",
		"name none":          head + "group none any b\nquorum none\n",
		"same witness twice": head + "witness c " + w1 + "\nquorum a\n",
		"same log twice":     head + "log " + log + "\nquorum a\n",
		"unknown word":       head + "trust a\nquorum a\n",
		"words after":        head + "quorum a b\n",
		"too long":           head + "#" + strings.Repeat(" ", maxPolicySize) + "\nquorum a\n",
	} {
		if _, err := ParsePolicy(text); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if p := mustPolicy(t, log+"\n"); !p.Accepts("sallyport.test/log") || p.Accepts("sallyport.test/lo") {
		t.Error("a policy of one key accepts other origins")
	}
}

func FuzzParsePolicy(f *testing.F) {
	log, w := newKey(f, "l").vkey, newWitness(f, "w").vkey
	f.Add(log)
	f.Add("log " + log + "\nwitness a " + w + "\ngroup g 1 a\nquorum g\n")
	f.Add("log\nquorum none")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := ParsePolicy(text); err == nil && len(p.logs) == 0 {
			t.Errorf("%q: a policy without a log", text)
		}
	})
}

func FuzzOpenCheckpoint(f *testing.F) {
	log := newKey(f, "sallyport.test/log")
	c := Checkpoint{Origin: "sallyport.test/log", Size: 42, Root: LeafHash(nil)}
	p := mustPolicy(f, log.vkey)
	f.Add([]byte(c.Text()))
	f.Add([]byte("sallyport.test/log\n0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		// Whatever the text, only its canonical form is read back from a note signed over it.
		signed, err := note.Sign(&note.Note{Text: string(text)}, log.signer)
		if err != nil {
			return
		}
		if got, err := p.Open(signed); err == nil && !bytes.HasPrefix(text, []byte(got.Text())) {
			t.Errorf("%q read as %+v", text, got)
		}
		if got, err := p.Open(text); err == nil {
			t.Errorf("opened %q without a signature of ours: %+v", text, got)
		}
	})
}

// receipt returns a receipt for entry index of a log of the given size, and the policy that trusts it.
func receipt(t testing.TB, index, size uint64) (Receipt, *Policy) {
	t.Helper()
	log := newKey(t, "sallyport.test/log")
	m, root := buildLog(t, size)
	proof, err := InclusionProof(t.Context(), m.fetch, index, size)
	if err != nil {
		t.Fatal(err)
	}
	c := Checkpoint{Origin: "sallyport.test/log", Size: size, Root: root}
	return Receipt{Index: index, Proof: proof, Extra: leafOf(index), Checkpoint: sign(t, c.Text(), log.signer)}, mustPolicy(t, log.vkey)
}

func TestReceipts(t *testing.T) {
	for _, at := range [][2]uint64{{0, 1}, {0, 2}, {299, 300}, {7, 300}} {
		r, p := receipt(t, at[0], at[1])
		text := r.Marshal()
		back, err := ParseReceipt(text)
		if err != nil || !bytes.Equal(back.Marshal(), text) {
			t.Fatalf("%s: %v", text, err)
		}
		if c, err := back.VerifySelf(p); err != nil || c.Size != at[1] {
			t.Errorf("verify: %+v, %v", c, err)
		}
		for i := range text { // no byte may change; a spare bit in the base64 of the last signature says nothing
			bad := bytes.Clone(text)
			bad[i] ^= 1
			if changed, err := ParseReceipt(bad); err == nil {
				if _, err := changed.VerifySelf(p); err == nil && i < len(text)-4 {
					t.Errorf("byte %d of %d changed: still verifies", i, len(text))
				}
			}
		}
		plain := r
		plain.Extra = nil // as another log's receipt: the entry comes beside it
		back, err = ParseReceipt(plain.Marshal())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := back.Verify(r.Extra, p); err != nil {
			t.Error(err)
		}
		if _, err := back.VerifySelf(p); err == nil {
			t.Error("verified a receipt without its entry")
		}
	}
}

// A leaf that is in the log, but says that it belongs elsewhere, is no proof of what it says.
func TestReceiptOfDisplacedLeaf(t *testing.T) {
	log := newKey(t, "sallyport.test/log")
	for _, leaf := range [][]byte{leafOf(1), AppendLeaf(nil, "sallyport.test/other", 0, []byte(`{}`)), []byte("free text")} {
		c := Checkpoint{Origin: "sallyport.test/log", Size: 1, Root: LeafHash(leaf)}
		r := Receipt{Extra: leaf, Checkpoint: sign(t, c.Text(), log.signer)}
		if _, err := r.Verify(leaf, mustPolicy(t, log.vkey)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.VerifySelf(mustPolicy(t, log.vkey)); err == nil {
			t.Errorf("leaf %s at index 0 of sallyport.test/log: accepted", leaf)
		}
	}
}

func TestParseReceiptRefuses(t *testing.T) {
	h := LeafHash(nil).String()
	for what, text := range map[string]string{
		"nothing":        "",
		"other header":   "c2sp.org/tlog-proof@v2\nindex 0\n\nx\n",
		"no index":       receiptHeader + "\n\nx\n",
		"leading zero":   receiptHeader + "\nindex 01\n\nx\n",
		"negative":       receiptHeader + "\nindex -1\n\nx\n",
		"no checkpoint":  receiptHeader + "\nindex 0\n\n",
		"no empty line":  receiptHeader + "\nindex 0\nx\n",
		"bad hash":       receiptHeader + "\nindex 0\n" + h[:43] + "\n\nx\n",
		"carriage":       receiptHeader + "\nindex 0\n" + h + "\r\n\nx\n",
		"bad extra":      receiptHeader + "\nextra !\nindex 0\n\nx\n",
		"empty extra":    receiptHeader + "\nextra \nindex 0\n\nx\n",
		"split extra":    receiptHeader + "\nextra AA\rAA\nindex 0\n\nx\n",
		"extra twice":    receiptHeader + "\nextra AAAA\nextra AAAA\nindex 0\n\nx\n",
		"too many":       receiptHeader + "\nindex 0\n" + strings.Repeat(h+"\n", maxProofHashes+1) + "\nx\n",
		"too long":       receiptHeader + "\nindex 0\n\n" + strings.Repeat("x", MaxReceiptSize),
		"index too high": receiptHeader + "\nindex 18446744073709551616\n\nx\n",
	} {
		if r, err := ParseReceipt([]byte(text)); err == nil {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

func FuzzParseReceipt(f *testing.F) {
	r, _ := receipt(f, 2, 5)
	f.Add(r.Marshal())
	f.Add([]byte(receiptHeader + "\nindex 0\n\nx\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := ParseReceipt(text); err == nil && !bytes.Equal(r.Marshal(), text) {
			t.Errorf("%q parsed as %+v", text, r)
		}
	})
}
