// Package acme owns an organisation to try Sallyport on: people, roles, models,
// datasets and endpoints (acme.yaml), the policies over them (policies), and tables
// of who may do what (decisions) that run as tests. It leaves importing the
// organisation and deciding to Sallyport.
package acme

import "embed"

// Files holds acme.yaml, policies/*.cedar and decisions/*.txt.
//
//go:embed acme.yaml policies/*.cedar decisions/*.txt
var Files embed.FS
