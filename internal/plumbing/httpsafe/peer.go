package httpsafe

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"

	"sallyport"
)

// PeerCertificate returns the certificate (DER) that the other end of the connection has proved to hold, nil where it
// showed none. The listener has verified it.
func PeerCertificate(r *http.Request) []byte {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0].Raw
}

// ClientCertificateHeaders returns the names of the header fields, as they are spelled, by which proxies pass on a client's
// certificate: those of RFC 9440 and the ones that were usual before. Guard drops them all.
func ClientCertificateHeaders(h http.Header) []string {
	var found []string
	for name := range h {
		n := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if strings.HasPrefix(n, "client-cert") || strings.HasPrefix(n, "x-client-cert") || strings.HasPrefix(n, "ssl-client") ||
			strings.HasPrefix(n, "x-ssl-") || n == "x-forwarded-client-cert" || n == "x-forwarded-tls-client-cert" {
			found = append(found, name)
		}
	}
	return found
}

// maxPassed bounds a certificate in a header field, in bytes of its text.
const maxPassed = 12 << 10

// ClientCertificate reads the Client-Cert field of RFC 9440, section 2.2: one DER certificate as a structured field's byte
// sequence. nil means that there is none. Only fields of a peer that may speak for others mean anything.
func ClientCertificate(h http.Header) (*x509.Certificate, error) {
	const op = "read Client-Cert"
	values := h["Client-Cert"]
	if len(values) == 0 {
		return nil, nil
	}
	inner, ok := strings.CutPrefix(strings.Trim(values[0], " "), ":")
	inner, closed := strings.CutSuffix(inner, ":")
	if len(values) != 1 || !ok || !closed || len(inner) > maxPassed {
		return nil, sallyport.E(op, sallyport.Invalid, "it is not one byte sequence", "send it as RFC 9440 says")
	}
	der, err := base64.StdEncoding.Strict().DecodeString(inner)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "it is not one byte sequence", err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "it holds no certificate", err)
	}
	return c, nil
}
