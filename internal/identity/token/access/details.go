package access

import (
	"encoding/json"
	"slices"
	"strings"

	strict "github.com/go-json-experiment/json"

	"sallyport"
)

// DetailType is the one type of authorization_details (RFC 9396, section 2).
const DetailType = "sallyport"

const (
	maxDetails    = 16 << 10 // bytes
	maxDetailList = 64
)

// A detail is one element of authorization_details. It says in JSON what items of a scope say in a word each, and
// nothing that a scope could not say: the two are the same.
type detail struct {
	Type       string   `json:"type"`
	Actions    []string `json:"actions"`
	Identifier string   `json:"identifier,omitempty"` // of the one resource, as in ACTION@RESOURCE; none = any
	Locations  []string `json:"locations,omitempty"`  // audiences, as in the parameter resource
	Purpose    string   `json:"purpose,omitempty"`
}

// ParseDetails reads authorization_details and returns what it asks for. Unknown members, types and actions are refused
// with the reason invalid_authorization_details, and never passed over: what is not understood cannot be consented to.
func ParseDetails(text string) (scope sallyport.Scope, audiences []string, purpose string, err error) {
	bad := func(what string) error {
		return sallyport.E("authorization_details", sallyport.Invalid, what, `write [{"type":"sallyport","actions":["model.infer"],"identifier":"acme/fraud"}]`).
			Because("invalid_authorization_details")
	}
	var all []detail
	if len(text) > maxDetails {
		return nil, nil, "", bad("more than 16 KiB")
	}
	if e := strict.Unmarshal([]byte(text), &all, strict.RejectUnknownMembers(true)); e != nil {
		return nil, nil, "", bad("it is not a list of objects with the members type, actions, identifier, locations and purpose")
	}
	if len(all) == 0 || len(all) > maxDetailList {
		return nil, nil, "", bad("between 1 and 64 elements are needed")
	}
	for i, d := range all {
		switch {
		case d.Type != DetailType:
			return nil, nil, "", bad("no type but " + DetailType + " is known")
		case len(d.Actions) == 0 || len(d.Actions) > maxDetailList:
			return nil, nil, "", bad("an element names no action")
		case i > 0 && d.Purpose != purpose:
			return nil, nil, "", bad("two elements are for two purposes")
		case i > 0 && !slices.Equal(d.Locations, all[0].Locations):
			return nil, nil, "", bad("two elements are for two sets of locations")
		}
		purpose = d.Purpose
		for _, action := range d.Actions {
			item := action
			if d.Identifier != "" {
				item += "@" + d.Identifier
			}
			if strings.ContainsAny(action, "@ ") || strings.Contains(d.Identifier, " ") {
				return nil, nil, "", bad("an action or identifier has a character that none has")
			}
			scope = append(scope, item)
		}
	}
	if _, e := sallyport.ParseScope(scope.String()); e != nil {
		return nil, nil, "", bad(sallyport.PublicText(e))
	}
	return scope, all[0].Locations, purpose, nil
}

// Details says a scope as authorization_details: one element for each resource, in the order of the scope.
func Details(scope sallyport.Scope, purpose string) (json.RawMessage, error) {
	var all []detail
	at := map[string]int{}
	for _, item := range scope {
		action, on, _ := strings.Cut(item, "@")
		i, there := at[on]
		if !there {
			i, at[on] = len(all), len(all)
			all = append(all, detail{Type: DetailType, Identifier: on, Purpose: purpose})
		}
		all[i].Actions = append(all[i].Actions, action)
	}
	if len(all) == 0 {
		return json.RawMessage("[]"), nil
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, sallyport.Wrap("authorization_details", sallyport.Other, "", err)
	}
	return text, nil
}
