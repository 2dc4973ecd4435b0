// Package acme owns an organisation to try Sallyport on: people, roles, models,
// datasets and endpoints (acme.yaml), the policies over them (policies, and in another language rego), and tables
// of who may do what (decisions) that run as tests. In strict are policies that an
// organisation turns on when those who govern it have passkeys and its people have
// enrolled devices, with a table of their own. It leaves importing the organisation and deciding to Sallyport.
package acme

import "embed"

// Files holds acme.yaml, policies/*.cedar, the same policies in rego, decisions/*.txt and strict.
//
//go:embed acme.yaml paths.txt policies/*.cedar rego/*.rego rego/*.json decisions/*.txt strict/*.cedar strict/*.txt
var Files embed.FS
