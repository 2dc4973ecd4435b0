package httpsafe

import "net/http"

// PeerCertificate returns the certificate (DER) that the other end of the connection has proved to hold, nil where it
// showed none. The listener has verified it.
func PeerCertificate(r *http.Request) []byte {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0].Raw
}
