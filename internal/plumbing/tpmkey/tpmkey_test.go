package tpmkey_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"path/filepath"
	"sync"
	"testing"

	"sallyport"
	"sallyport/internal/plumbing/tpmkey"
	"sallyport/internal/plumbing/tpmkey/tpmtest"
)

// made is an open TPM with a key of its own, in its wrapped form.
func made(t *testing.T) (tpm *tpmkey.TPM, path string, public *ecdsa.PublicKey, wrapped []byte) {
	t.Helper()
	path = tpmtest.Start(t).Path
	tpm, err := tpmkey.Open(path)
	must(t, err)
	t.Cleanup(func() { tpm.Close() })
	c, err := tpm.Candidate()
	must(t, err)
	if len(c.EK) == 0 || len(c.EKChain) != 1 || len(c.AK.Public) == 0 || len(c.AK.Attestation) == 0 || len(c.AK.Signature) == 0 {
		t.Errorf("the evidence is %+v", c.Evidence)
	}
	nonce := []byte("a nonce of the server")
	k, part, err := c.NewKey(nonce)
	must(t, err)
	if !bytes.Contains(part.Attestation, nonce) {
		t.Error("the word about the key does not say for what")
	}
	if _, err := c.Answer([]byte("no"), []byte("credential")); sallyport.KindOf(err) != sallyport.Unavailable || err == nil {
		t.Errorf("an answer to nothing: %v", err)
	}
	public, ok := k.Public().(*ecdsa.PublicKey)
	if !ok {
		t.Fatalf("the key is a %T", k.Public())
	}
	wrapped, err = k.Wrapped()
	must(t, err)
	must(t, k.Close())
	must(t, c.Close())
	return tpm, path, public, wrapped
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A key comes back from its wrapped form in the TPM that made it, after a restart of the program too, and in no other.
func TestAKeyStaysInItsTPM(t *testing.T) {
	tpm, path, public, wrapped := made(t)
	must(t, tpm.Close())
	again, err := tpmkey.Open(path)
	must(t, err)
	defer again.Close()
	k, err := again.Load(wrapped)
	must(t, err)
	if !public.Equal(k.Public()) {
		t.Error("another key came back")
	}
	digest := sha256.Sum256([]byte("text"))
	sig, err := k.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(public, digest[:], sig) {
		t.Errorf("the signature is wrong: %v", err)
	}
	if _, err := k.Sign(rand.Reader, digest[:3], crypto.SHA256); err == nil {
		t.Error("a digest that is none was signed")
	}
	must(t, k.Close())
	for what, b := range map[string][]byte{"nothing": nil, "half": wrapped[:len(wrapped)/2], "no key": []byte("{}")} {
		if _, err := again.Load(b); sallyport.KindOf(err) != sallyport.Unavailable || err == nil {
			t.Errorf("%s was loaded: %v", what, err)
		}
	}
	other, err := tpmkey.Open(tpmtest.Start(t).Path)
	must(t, err)
	defer other.Close()
	if _, err := other.Load(wrapped); sallyport.KindOf(err) != sallyport.Unavailable || err == nil {
		t.Errorf("another TPM loaded it: %v", err)
	}
}

// Signatures at once take turns, and each is good.
func TestSignaturesTakeTurns(t *testing.T) {
	tpm, _, public, wrapped := made(t)
	k, err := tpm.Load(wrapped)
	must(t, err)
	defer k.Close()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			digest := sha256.Sum256([]byte{byte(i)})
			if sig, err := k.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil || !ecdsa.VerifyASN1(public, digest[:], sig) {
				t.Errorf("signature %d: %v", i, err)
			}
		})
	}
	all.Wait()
}

// Where there is no TPM, that is what is said.
func TestThereIsNoTPM(t *testing.T) {
	if _, err := tpmkey.Open(filepath.Join(t.TempDir(), "none")); sallyport.KindOf(err) != sallyport.Unavailable || err == nil {
		t.Errorf("Open = %v", err)
	}
}
