package oauth

import (
	"net/http"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/clients"
)

// metadata is RFC 8414, section 2, with the members of OpenID Connect Discovery, RFC 8628, 8705, 9126, 9207, 9396 and
// 9449, and of the logout specifications of OpenID Connect. One document serves both addresses.
type metadata struct {
	Issuer         string           `json:"issuer"`
	Authorize      string           `json:"authorization_endpoint"`
	Token          string           `json:"token_endpoint"`
	Keys           string           `json:"jwks_uri"`
	Device         string           `json:"device_authorization_endpoint"`
	Push           string           `json:"pushed_authorization_request_endpoint"`
	Revoke         string           `json:"revocation_endpoint"`
	Introspect     string           `json:"introspection_endpoint"`
	UserInfo       string           `json:"userinfo_endpoint"`
	EndSession     string           `json:"end_session_endpoint"`
	Responses      []string         `json:"response_types_supported"`
	Modes          []string         `json:"response_modes_supported"`
	Grants         []clients.Grant  `json:"grant_types_supported"`
	Scopes         []string         `json:"scopes_supported"`
	Claims         []string         `json:"claims_supported"`
	Challenges     []string         `json:"code_challenge_methods_supported"`
	ClientAuth     []clients.Method `json:"token_endpoint_auth_methods_supported"`
	ClientSigning  []jose.Algorithm `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevokeAuth     []clients.Method `json:"revocation_endpoint_auth_methods_supported"`
	RevokeSigning  []jose.Algorithm `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	InspectAuth    []string         `json:"introspection_endpoint_auth_methods_supported"`
	InspectSigning []jose.Algorithm `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	Proofs         []jose.Algorithm `json:"dpop_signing_alg_values_supported"`
	BoundByTLS     bool             `json:"tls_client_certificate_bound_access_tokens"`
	Details        []string         `json:"authorization_details_types_supported"`
	IssInResponse  bool             `json:"authorization_response_iss_parameter_supported"`
	PushRequired   bool             `json:"require_pushed_authorization_requests"` // of all clients; single ones may be registered so
	Levels         []string         `json:"acr_values_supported"`
	Prompts        []string         `json:"prompt_values_supported"`
	Subjects       []string         `json:"subject_types_supported"`
	Signing        []string         `json:"id_token_signing_alg_values_supported"`
	Logout         bool             `json:"backchannel_logout_supported"`
	LogoutSession  bool             `json:"backchannel_logout_session_supported"`
	ClaimsParam    bool             `json:"claims_parameter_supported"`
	Request        bool             `json:"request_parameter_supported"`
	RequestURI     bool             `json:"request_uri_parameter_supported"`
}

func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) {
	at := func(path string) string { return s.cfg.URL + path }
	var levels []string
	for level := sallyport.SingleFactor; level <= sallyport.Hardware; level++ {
		levels = append(levels, level.String())
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	writeJSON(w, http.StatusOK, metadata{
		Issuer: s.cfg.URL, Authorize: at(PathAuthorize), Token: at(pathToken), Keys: at(pathKeys), Device: at(pathDevice), Push: at(pathPush),
		Revoke: at(pathRevoke), Introspect: at(pathIntrospect), UserInfo: at(pathUserInfo), EndSession: at(PathEndSession),
		Responses: []string{"code"}, Modes: []string{"query"}, Grants: clients.Grants(), Scopes: []string{"openid"},
		Claims:     []string{"sub", "preferred_username", "auth_time", "acr", "amr", "sid", "nonce"},
		Challenges: []string{"S256"}, ClientAuth: clients.Methods(), ClientSigning: jose.ProofAlgorithms(),
		RevokeAuth: clients.Methods(), RevokeSigning: jose.ProofAlgorithms(), Proofs: jose.ProofAlgorithms(),
		InspectAuth:    []string{string(clients.PrivateKey), string(clients.TLS), string(clients.SelfSignedTLS), "Bearer", "DPoP"},
		InspectSigning: jose.ProofAlgorithms(), BoundByTLS: true, Details: []string{access.DetailType}, IssInResponse: true,
		Levels: levels, Prompts: []string{"none", "login", "consent"}, Subjects: []string{"public"}, Signing: []string{string(jose.ES256)},
		Logout: true, LogoutSession: true,
	})
}

func (s *Server) keys(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(s.cfg.Issuer.Keys.Current().Document()) // the client hung up: nobody to tell
}
