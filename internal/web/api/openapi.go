package api

import (
	_ "embed"
	"slices"
)

// The document is made by a test from the route table, the handlers and the types of this package, and checked by it.
//
//go:embed openapi.json
var openAPI []byte // budget: embedding has no other form

// OpenAPI returns the description of the API (OpenAPI 3.1.0) as JSON.
func OpenAPI() []byte { return slices.Clone(openAPI) }
