package passkey

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-webauthn/webauthn/metadata"
	"github.com/go-webauthn/webauthn/metadata/providers/memory"
	"github.com/go-webauthn/webauthn/webauthn"

	"sallyport"
)

// MaxMetadata bounds a BLOB, in bytes; FIDO's has about 10 MB.
const MaxMetadata = 64 << 20

// A Model is one authenticator model that the operator trusts to keep keys to itself.
type Model struct {
	AAGUID string              // "ee882879-721c-4913-9775-3dfcce97072a"
	Name   string              // for people; "" takes the metadata's
	Roots  []*x509.Certificate // of its attestation, where no metadata names them
}

// Metadata is what FIDO's metadata service, or another publisher, says about models.
type Metadata struct {
	Number int       // serial number of the BLOB
	Next   time.Time // when the next one should be out
	parsed metadata.Parsed
	broken int // entries that could not be read: those models count as unknown
}

// Models tells how many models are described, and how many entries could not be read.
func (m *Metadata) Models() (read, broken int) { return len(m.parsed.Entries), m.broken }

// ParseMetadata reads a metadata BLOB (FIDO Metadata Service 3, section 3.1.7): a JWS whose chain must end at root. Nothing is
// fetched. now is for the certificates' validity.
func ParseMetadata(blob []byte, root *x509.Certificate, now time.Time) (*Metadata, error) {
	const op = "read passkey metadata"
	if len(blob) > MaxMetadata || root == nil {
		return nil, sallyport.E(op, sallyport.TooLarge, "the BLOB is over 64 MiB, or no root is given", "name the publisher's root certificate")
	}
	signed, err := jose.ParseSignedCompact(strings.TrimSpace(string(blob)), []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.RS256, jose.PS256})
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "it is no signed BLOB", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	chains, err := signed.Signatures[0].Protected.Certificates(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "its certificates do not lead to the root that was given", err)
	}
	payload, err := signed.Verify(chains[0][0].PublicKey)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "its signature is wrong", err)
	}
	return parsePayload(payload)
}

func parsePayload(payload []byte) (*Metadata, error) {
	const op = "read passkey metadata"
	var raw metadata.PayloadJSON
	if err := json.Unmarshal(payload, &raw); err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "the payload cannot be read", err)
	}
	next, err := time.Parse(time.DateOnly, raw.NextUpdate)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "nextUpdate is no date", err)
	}
	m := &Metadata{Number: raw.Number, Next: next}
	for _, entry := range raw.Entries {
		one, err := entry.Parse()
		if err != nil {
			m.broken++ // one maker's mistake is not everybody's
			continue
		}
		m.parsed.Entries = append(m.parsed.Entries, one)
	}
	return m, nil
}

// provider is what the library asks about models, nil where nothing is known of any. It fills in the names of the listed
// ones. A model with an entry must attest up to its roots and may have no report of being broken; one without an entry
// is accepted like one that does not attest.
func (m *Metadata) provider(models []Model, names map[string]string) (metadata.Provider, error) {
	const op = "configure passkeys"
	var all metadata.Metadata
	if m != nil {
		all.Parsed = m.parsed
	}
	for _, model := range models {
		var own metadata.Entry
		if err := own.AaGUID.UnmarshalText([]byte(model.AAGUID)); err != nil || own.AaGUID.String() != model.AAGUID || own.AaGUID == (metadata.Entry{}).AaGUID {
			return nil, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.60q is no AAGUID of a model", model.AAGUID), "write it like ee882879-721c-4913-9775-3dfcce97072a")
		}
		if len(model.Roots) > 0 {
			own.MetadataStatement = metadata.Statement{Description: model.Name, AttestationRootCertificates: model.Roots,
				AttestationTypes: metadata.AuthenticatorAttestationTypes{metadata.BasicFull, metadata.AttCA}}
			all.Parsed.Entries = append(all.Parsed.Entries, own)
		}
		names[model.AAGUID] = model.Name
	}
	for _, e := range all.Parsed.Entries {
		if id := e.AaGUID.String(); names[id] == "" {
			if _, listed := names[id]; listed {
				names[id] = e.MetadataStatement.Description
			}
		}
	}
	if len(all.Parsed.Entries) == 0 {
		return nil, nil
	}
	return memory.New(memory.WithMetadata(all.ToMap()), memory.WithValidateEntry(false), memory.WithValidateEntryPermitZeroAAGUID(true),
		memory.WithValidateAAGUID(true))
}

// attested tells whether a maker's attestation was verified up to a root: the library does that for every model that has
// an entry, and lets those without one pass.
func (s *Service) attested(c *webauthn.Credential) bool {
	switch metadata.AuthenticatorAttestationType(c.AttestationType) {
	case metadata.BasicFull, metadata.AttCA, metadata.AnonCA:
		return s.entry(aaguid(c.Authenticator.AAGUID)) != nil
	}
	return false
}

func (s *Service) entry(id string) *metadata.Entry {
	if s.party.Config.MDS == nil {
		return nil
	}
	var key metadata.Entry
	if key.AaGUID.UnmarshalText([]byte(id)) != nil {
		return nil
	}
	//lint:ignore SA1012 the map in memory asks for no context
	found, err := s.party.Config.MDS.GetEntry(nil, key.AaGUID)
	if err != nil {
		return nil
	}
	return found
}

// model names a model for people.
func (s *Service) model(id string) string {
	if name := s.models[id]; name != "" {
		return name
	}
	if e := s.entry(id); e != nil && e.MetadataStatement.Description != "" {
		return clipLabel(e.MetadataStatement.Description)
	}
	return "Passkey"
}

// aaguid writes 16 bytes as a model's id; "" for none and for all zero.
func aaguid(raw []byte) string {
	h := hex.EncodeToString(raw)
	if len(raw) != 16 || strings.Trim(h, "0") == "" {
		return ""
	}
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
