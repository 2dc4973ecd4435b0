package token

import (
	"sallyport"
	"sallyport/internal/identity/token/clients"
)

// CommandLine is the client that ships with the server: the sallyport command.
func CommandLine(external string) clients.Client {
	return clients.Client{
		ID: "sallyport-cli", Name: "Sallyport command line", LoopbackRedirect: "/callback",
		Grants: []clients.Grant{clients.Code, clients.Refresh, clients.Device, clients.Exchange}, Scopes: sallyport.Scope{"*"}, Audiences: Audiences(external),
	}
}

// HubID is the client id of stock Hugging Face clients, and HubDefaultID the one that they send unless they are told
// another by HF_DEVICE_CODE_OAUTH_CLIENT_ID.
const HubID = "huggingface-hub"

// Hub is the client that stock Hugging Face programs are: it signs in by device code, renews, and exchanges the proof of
// a CI job. Its tokens are for the Hub's door and no other.
func Hub(external string) clients.Client {
	return clients.Client{
		ID: HubID, Name: "Hugging Face client", Grants: []clients.Grant{clients.Device, clients.Refresh, clients.Exchange},
		Scopes: sallyport.Scope{"*"}, Default: sallyport.Scope{"model.*", "dataset.*", "server.read"}, Audiences: []string{external + "/hf"},
	}
}

// Audiences returns the doors behind an external URL that tokens can be for: the API, which is the default, then
// the model doors.
func Audiences(external string) []string {
	return []string{external + "/api", external + "/hf", external + "/openai", external + "/vault"}
}
