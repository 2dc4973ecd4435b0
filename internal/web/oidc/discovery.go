package oidc

import (
	"net/http"

	"sallyport"
	"sallyport/internal/identity/token"
)

// metadata is RFC 8414, section 2; the same document serves OpenID Connect Discovery.
type metadata struct {
	Issuer        string   `json:"issuer"`
	Authorize     string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Keys          string   `json:"jwks_uri"`
	Device        string   `json:"device_authorization_endpoint"`
	Revoke        string   `json:"revocation_endpoint"`
	Introspect    string   `json:"introspection_endpoint"`
	Responses     []string `json:"response_types_supported"`
	Modes         []string `json:"response_modes_supported"`
	Grants        []string `json:"grant_types_supported"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	ClientAuth    []string `json:"token_endpoint_auth_methods_supported"`
	RevokeAuth    []string `json:"revocation_endpoint_auth_methods_supported"`
	IssInResponse bool     `json:"authorization_response_iss_parameter_supported"`
	Levels        []string `json:"acr_values_supported"`
	Prompts       []string `json:"prompt_values_supported"`
	Subjects      []string `json:"subject_types_supported"`
	Signing       []string `json:"id_token_signing_alg_values_supported"` // OpenID Connect Discovery wants it in every document
	Request       bool     `json:"request_parameter_supported"`
	RequestURI    bool     `json:"request_uri_parameter_supported"`
}

func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) {
	at := func(path string) string { return s.cfg.URL + path }
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	writeJSON(w, http.StatusOK, metadata{
		Issuer: s.cfg.URL, Authorize: at(pathAuthorize), Token: at(pathToken), Keys: at(pathKeys), Device: at(pathDevice),
		Revoke: at(pathRevoke), Introspect: at(pathIntrospect),
		Responses: []string{"code"}, Modes: []string{"query"},
		Grants:     []string{string(token.GrantCode), string(token.GrantRefresh), string(token.GrantDevice)},
		Challenges: []string{"S256"}, ClientAuth: []string{"none"}, RevokeAuth: []string{"none"}, IssInResponse: true,
		Levels:  []string{sallyport.SingleFactor.String(), sallyport.MultiFactor.String(), sallyport.Hardware.String()},
		Prompts: []string{"none", "login", "consent"}, Subjects: []string{"public"}, Signing: []string{"ES256"},
	})
}

func (s *Server) keys(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(s.cfg.Issuer.Keys.Current().Document()) // the client hung up: nobody to tell
}
