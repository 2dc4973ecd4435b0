// Package softkey owns a passkey in software (W3C Web Authentication Level 3, section 6): it answers the options of a
// relying party as a browser with an authenticator does, for programs that act as people in demonstrations, measurements
// and tests.
//
// It guards nothing: its keys lie in memory. What a relying party makes of the answers is not its business.
package softkey

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

// The flags of authenticator data, section 6.1.
const (
	userPresent    = 0x01
	userVerified   = 0x04
	backupEligible = 0x08
	backupState    = 0x10
	attested       = 0x40
)

// A Key is an authenticator with the passkeys that it holds. The zero value is one whose keys may be copied elsewhere
// (a synced passkey), without attestation; Maker.Key makes one that a maker attests. Methods are safe for concurrent use.
type Key struct {
	Unverified bool // it does not verify its user, whatever it is asked for
	Still      bool // its counter stays where it is, as after copying

	maker   *Maker
	mu      sync.Mutex
	held    []credential
	counter uint32
}

// A credential is one passkey.
type credential struct {
	id     []byte
	party  string
	handle []byte
	key    *ecdsa.PrivateKey
}

// options are the parts that an authenticator reads of creation and request options.
type options struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		RPID      string `json:"rpId"`
		RP        struct {
			ID string `json:"id"`
		} `json:"rp"`
		User struct {
			ID string `json:"id"`
		} `json:"user"`
		Allow []descriptor `json:"allowCredentials"`
	} `json:"publicKey"`
}

type descriptor struct {
	ID string `json:"id"`
}

// Create makes a passkey for creation options and answers like PublicKeyCredential.toJSON. origin is the page's.
func (k *Key) Create(optionsJSON []byte, origin string) ([]byte, error) {
	var o options
	if err := json.Unmarshal(optionsJSON, &o); err != nil {
		return nil, fmt.Errorf("create passkey: %w", err)
	}
	handle, err := base64.RawURLEncoding.DecodeString(o.PublicKey.User.ID)
	if err != nil {
		return nil, fmt.Errorf("create passkey: user id: %w", err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c := credential{id: make([]byte, 32), party: o.PublicKey.RP.ID, handle: handle, key: private}
	if _, err := rand.Read(c.id); err != nil {
		return nil, err
	}
	public, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	data := k.authenticatorData(c.party, attested)
	aaguid := [16]byte{}
	if k.maker != nil {
		aaguid = k.maker.aaguid
	}
	data = append(data, aaguid[:]...)
	data = binary.BigEndian.AppendUint16(data, uint16(len(c.id)))
	data = append(append(data, c.id...), coseKey(public)...)
	client := clientData("webauthn.create", o.PublicKey.Challenge, origin)
	object, err := k.attest(data, client)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	k.held = append(k.held, c)
	k.mu.Unlock()
	return answer(c.id, map[string]any{"clientDataJSON": encode(client), "attestationObject": encode(object), "transports": []string{"internal"}})
}

// Get proves somebody by a passkey for request options and answers like PublicKeyCredential.toJSON.
func (k *Key) Get(optionsJSON []byte, origin string) ([]byte, error) {
	var o options
	if err := json.Unmarshal(optionsJSON, &o); err != nil {
		return nil, fmt.Errorf("use passkey: %w", err)
	}
	c, err := k.find(o)
	if err != nil {
		return nil, err
	}
	data, client := k.authenticatorData(c.party, 0), clientData("webauthn.get", o.PublicKey.Challenge, origin)
	signature, err := sign(c.key, data, client)
	if err != nil {
		return nil, err
	}
	return answer(c.id, map[string]any{"clientDataJSON": encode(client), "authenticatorData": encode(data), "signature": encode(signature), "userHandle": encode(c.handle)})
}

// find is the newest passkey that the options allow.
func (k *Key) find(o options) (credential, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := len(k.held) - 1; i >= 0; i-- {
		c := k.held[i]
		allowed := len(o.PublicKey.Allow) == 0
		for _, a := range o.PublicKey.Allow {
			allowed = allowed || a.ID == encode(c.id)
		}
		if allowed && c.party == o.PublicKey.RPID {
			return c, nil
		}
	}
	return credential{}, errors.New("use passkey: there is none for " + o.PublicKey.RPID)
}

// authenticatorData is its head: whose it is, flags and counter.
func (k *Key) authenticatorData(party string, more byte) []byte {
	flags := more | userPresent
	if !k.Unverified {
		flags |= userVerified
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.maker == nil {
		flags |= backupEligible | backupState
	} else if !k.Still {
		k.counter++
	}
	hash := sha256.Sum256([]byte(party))
	return binary.BigEndian.AppendUint32(append(hash[:], flags), k.counter)
}

// attest is the attestation object: "packed" with the maker's certificate, or "none".
func (k *Key) attest(data, client []byte) ([]byte, error) {
	var statement bytes.Buffer
	format := "none"
	if k.maker == nil {
		statement.Write(head(mapType, 0))
	} else {
		format = "packed"
		signature, err := sign(k.maker.key, data, client)
		if err != nil {
			return nil, err
		}
		statement.Write(head(mapType, 3))
		statement.Write(textOf("alg"))
		statement.Write(integer(es256))
		statement.Write(textOf("sig"))
		statement.Write(bytesOf(signature))
		statement.Write(textOf("x5c"))
		statement.Write(head(arrayType, 1))
		statement.Write(bytesOf(k.maker.certificate))
	}
	var object bytes.Buffer
	object.Write(head(mapType, 3))
	object.Write(textOf("fmt"))
	object.Write(textOf(format))
	object.Write(textOf("attStmt"))
	object.Write(statement.Bytes())
	object.Write(textOf("authData"))
	object.Write(bytesOf(data))
	return object.Bytes(), nil
}

func sign(key *ecdsa.PrivateKey, data, client []byte) ([]byte, error) {
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(bytes.Clone(data), hash[:]...))
	return ecdsa.SignASN1(rand.Reader, key, digest[:])
}

func clientData(kind, challenge, origin string) []byte {
	raw, err := json.Marshal(struct {
		Type        string `json:"type"`
		Challenge   string `json:"challenge"`
		Origin      string `json:"origin"`
		CrossOrigin bool   `json:"crossOrigin"`
	}{kind, challenge, origin, false})
	if err != nil {
		panic(err) // cannot happen: strings can be encoded
	}
	return raw
}

func answer(id []byte, response map[string]any) ([]byte, error) {
	return json.Marshal(map[string]any{"id": encode(id), "rawId": encode(id), "type": "public-key", "authenticatorAttachment": "platform",
		"clientExtensionResults": map[string]any{}, "response": response})
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
