package scim

import (
	"net/http"
	"strings"

	"sallyport"
	"sallyport/internal/web/scim/resource"
)

const (
	listURN   = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	searchURN = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
	coreURN   = "urn:ietf:params:scim:schemas:core:2.0:"
)

// capabilities says what is offered (RFC 7643, section 5).
func (d *Door) capabilities(*call) (answer, error) {
	no := map[string]any{"supported": false}
	return answer{status: http.StatusOK, body: map[string]any{
		"schemas":        []string{coreURN + "ServiceProviderConfig"},
		"patch":          map[string]any{"supported": true},
		"bulk":           map[string]any{"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
		"filter":         map[string]any{"supported": true, "maxResults": maxCount},
		"changePassword": no, "sort": no,
		"etag": map[string]any{"supported": true},
		"authenticationSchemes": []any{map[string]any{"type": "oauthbearertoken", "name": "OAuth 2.0 access token", "primary": true,
			"description": "An access token of this server's authorization server for the account of the source (RFC 6750, RFC 9068)",
			"specUri":     "https://www.rfc-editor.org/info/rfc6750"}},
		"meta": map[string]any{"resourceType": "ServiceProviderConfig", "location": d.Intake.Places + "/ServiceProviderConfig"},
	}}, nil
}

// types answers /ResourceTypes and /ResourceTypes/{id}.
func (d *Door) types(c *call) (answer, error) {
	var all []map[string]any
	for _, t := range []resource.Type{resource.Users(), resource.Groups()} {
		extensions := []any{}
		if t.Extension != nil {
			extensions = append(extensions, map[string]any{"schema": t.Extension.URN, "required": false})
		}
		all = append(all, map[string]any{"schemas": []string{coreURN + "ResourceType"}, "id": t.Name, "name": t.Name, "endpoint": t.Endpoint,
			"description": t.Schema.Description, "schema": t.Schema.URN, "schemaExtensions": extensions,
			"meta": map[string]any{"resourceType": "ResourceType", "location": d.Intake.Places + "/ResourceTypes/" + t.Name}})
	}
	return documents(c, all)
}

// schemas answers /Schemas and /Schemas/{id}.
func (d *Door) schemas(c *call) (answer, error) {
	users := resource.Users()
	var all []map[string]any
	for _, s := range []resource.Schema{users.Schema, *users.Extension, resource.Groups().Schema} {
		all = append(all, map[string]any{"schemas": []string{coreURN + "Schema"}, "id": s.URN, "name": s.Name, "description": s.Description, "attributes": s.Attributes,
			"meta": map[string]any{"resourceType": "Schema", "location": d.Intake.Places + "/Schemas/" + s.URN}})
	}
	return documents(c, all)
}

// documents answers with one of the documents by its id, or with all. They cannot
// be filtered (RFC 7644, section 4).
func documents(c *call, all []map[string]any) (answer, error) {
	if c.URL.Query().Has("filter") {
		return answer{}, forbidden("these documents cannot be filtered")
	}
	id := c.PathValue("id")
	if id == "" {
		return answer{status: http.StatusOK, body: list(all, len(all), 1)}, nil
	}
	for _, x := range all {
		if strings.EqualFold(x["id"].(string), id) {
			return answer{status: http.StatusOK, body: x}, nil
		}
	}
	return answer{}, sallyport.E("scim", sallyport.NotFound, "there is no such document", "")
}

// list is a page of an answer that began at start, of total in all.
func list(page []map[string]any, total, start int) map[string]any {
	if page == nil {
		page = []map[string]any{}
	}
	return map[string]any{"schemas": []string{listURN}, "totalResults": total, "startIndex": start, "itemsPerPage": len(page), "Resources": page}
}
