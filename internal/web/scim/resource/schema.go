// Package resource owns SCIM's records as data: the schemas of users and groups
// (RFC 7643, sections 4 and 7), the one form in which a record is kept, and what
// of it is shown (RFC 7644, section 3.9). It is pure.
//
// It leaves to web/scim/patch what changes a record, and to web/scim what a record
// means for the directory, and HTTP.
package resource

import (
	"strings"

	"sallyport/internal/web/scim/filter"
)

// The URNs of the schemas.
const (
	UserURN       = "urn:ietf:params:scim:schemas:core:2.0:User"
	GroupURN      = "urn:ietf:params:scim:schemas:core:2.0:Group"
	EnterpriseURN = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
)

// An Attribute is one attribute of a schema, as RFC 7643, section 7 describes it.
type Attribute struct {
	Name        string      `json:"name"`
	Type        filter.Kind `json:"type"`
	Many        bool        `json:"multiValued"`
	Description string      `json:"description"`
	Required    bool        `json:"required"`
	Exact       bool        `json:"caseExact"`
	Mutability  string      `json:"mutability"` // readWrite, readOnly or immutable
	Returned    string      `json:"returned"`   // default or always
	Uniqueness  string      `json:"uniqueness"` // none or server
	Canonical   []string    `json:"canonicalValues,omitempty"`
	References  []string    `json:"referenceTypes,omitempty"`
	Sub         []Attribute `json:"subAttributes,omitempty"`
}

// A Schema is a set of attributes under a URN.
type Schema struct {
	URN         string      `json:"id"`
	Name        string      `json:"name"`
	Description string      `json:"description"`
	Attributes  []Attribute `json:"attributes"`
}

// A Type is a kind of record: its schema and its extension, if it has one.
type Type struct {
	Name      string // "User"
	Endpoint  string // "/Users"
	Schema    Schema
	Extension *Schema
}

// Users is the type of users.
func Users() Type {
	e := enterprise()
	return Type{Name: "User", Endpoint: "/Users", Schema: user(), Extension: &e}
}

// Groups is the type of groups.
func Groups() Type { return Type{Name: "Group", Endpoint: "/Groups", Schema: group()} }

// attribute makes an attribute with RFC 7643's defaults, changed by more.
func attribute(name string, kind filter.Kind, about string, more ...func(*Attribute)) Attribute {
	a := Attribute{Name: name, Type: kind, Description: about, Mutability: "readWrite", Returned: "default", Uniqueness: "none"}
	for _, m := range more {
		m(&a)
	}
	return a
}

func text(name, about string, more ...func(*Attribute)) Attribute {
	return attribute(name, filter.Text, about, more...)
}

func required(a *Attribute)  { a.Required = true }
func unique(a *Attribute)    { a.Uniqueness = "server" }
func exact(a *Attribute)     { a.Exact = true }
func readOnly(a *Attribute)  { a.Mutability = "readOnly" }
func immutable(a *Attribute) { a.Mutability = "immutable" }
func always(a *Attribute)    { a.Returned = "always" }

func of(sub ...Attribute) func(*Attribute) { return func(a *Attribute) { a.Sub = sub } }

func values(words ...string) func(*Attribute) { return func(a *Attribute) { a.Canonical = words } }

// to marks a reference. Its target is compared exactly (RFC 7643, section 2.3.7).
func to(types ...string) func(*Attribute) {
	return func(a *Attribute) { a.References, a.Exact = types, true }
}

// many makes a multi-valued attribute of values with a type and a preference.
func many(name, about string, types []string, sub ...Attribute) Attribute {
	sub = append(sub, text("type", "What the value is for.", values(types...)),
		attribute("primary", filter.Flag, "The preferred one, of which there is at most one."))
	return attribute(name, filter.Complex, about, of(sub...), func(a *Attribute) { a.Many = true })
}

// common are the attributes of every record (RFC 7643, section 3.1).
func common() []Attribute {
	return []Attribute{
		text("id", "The server's name of the record; it never changes.", exact, readOnly, always, unique),
		text("externalId", "The provider's name of the record.", exact),
		attribute("meta", filter.Complex, "What the server says of the record.", readOnly, of(
			text("resourceType", "The type of the record.", exact, readOnly),
			attribute("created", filter.Time, "When it was added.", readOnly),
			attribute("lastModified", filter.Time, "When it changed last.", readOnly),
			attribute("location", filter.Reference, "Its address.", readOnly, to("uri")),
			text("version", "Its entity tag.", exact, readOnly))),
	}
}

func user() Schema {
	return Schema{URN: UserURN, Name: "User", Description: "An account of a person.", Attributes: []Attribute{
		text("userName", "The name by which the person signs in.", required, unique),
		attribute("name", filter.Complex, "The parts of the person's name.", of(
			text("formatted", "All of it, as it is shown."), text("familyName", "The family name."), text("givenName", "The given name."),
			text("middleName", "The middle name."), text("honorificPrefix", "A title before the name."), text("honorificSuffix", "What follows the name."))),
		text("displayName", "The name that people read."),
		text("nickName", "What friends say."),
		attribute("profileUrl", filter.Reference, "A page about the person.", to("external")),
		text("title", "The person's title, such as Engineer."),
		text("userType", "How the person relates to the organisation."),
		text("preferredLanguage", "The language that the person reads."),
		text("locale", "For numbers and dates."),
		text("timezone", "In the form of the tz database."),
		attribute("active", filter.Flag, "Whether the person may act. False ends everything that they hold, at once.", required),
		many("emails", "Addresses to write to.", []string{"work", "home", "other"}, text("value", "The address."), text("display", "As it is shown.")),
		many("phoneNumbers", "Numbers to call.", []string{"work", "home", "mobile", "fax", "pager", "other"}, text("value", "The number."), text("display", "As it is shown.")),
		many("addresses", "Postal addresses.", []string{"work", "home", "other"}, text("formatted", "All of it."), text("streetAddress", "The street and number."),
			text("locality", "The city."), text("region", "The state or region."), text("postalCode", "The postal code."), text("country", "The country, ISO 3166-1.")),
		attribute("groups", filter.Complex, "The groups of the same source that the person is in.", readOnly, func(a *Attribute) { a.Many = true }, of(
			text("value", "The group's id.", readOnly, exact), attribute("$ref", filter.Reference, "The group's address.", readOnly, to("Group")),
			text("display", "The group's name.", readOnly), text("type", "How the person is in it.", readOnly, values("direct")))),
	}}
}

func enterprise() Schema {
	return Schema{URN: EnterpriseURN, Name: "EnterpriseUser", Description: "What an employer says of a person.", Attributes: []Attribute{
		text("employeeNumber", "The person's number."), text("costCenter", "Who pays."), text("organization", "The organisation's name."),
		text("division", "The division's name."), text("department", "The department's name."),
		attribute("manager", filter.Complex, "To whom the person reports.", of(
			text("value", "The manager's id.", exact), attribute("$ref", filter.Reference, "The manager's address.", to("User")),
			text("displayName", "The manager's name.", readOnly))),
	}}
}

func group() Schema {
	return Schema{URN: GroupURN, Name: "Group", Description: "A group of people.", Attributes: []Attribute{
		text("displayName", "The name of the group.", required, unique),
		attribute("members", filter.Complex, "Who is in it: users of the same source.", func(a *Attribute) { a.Many = true }, of(
			text("value", "The user's id.", immutable, exact), attribute("$ref", filter.Reference, "The user's address.", immutable, to("User")),
			text("display", "The user's name.", readOnly), text("type", "What it is.", immutable, values("User")))),
	}}
}

// Find returns the attribute of a name in any case.
func Find(all []Attribute, name string) (Attribute, bool) {
	for _, a := range all {
		if strings.EqualFold(a.Name, name) {
			return a, true
		}
	}
	return Attribute{}, false
}

// top are the attributes that stand at the top of a record.
func (t Type) top() []Attribute { return append(common(), t.Schema.Attributes...) }

// Attr finds an attribute by its name, whatever the case. Of a whole extension the
// attribute returned has the extension's attributes below it.
func (t Type) Attr(a filter.Attr) (filter.Attr, Attribute, bool) {
	urn, all := "", t.top()
	switch {
	case a.URN == "" || strings.EqualFold(a.URN, t.Schema.URN):
	case t.Extension != nil && strings.EqualFold(a.URN+":"+a.Name, t.Extension.URN) && a.Sub == "":
		return filter.Attr{URN: t.Extension.URN}, Attribute{Type: filter.Complex, Mutability: "readWrite", Sub: t.Extension.Attributes}, true
	case t.Extension != nil && strings.EqualFold(a.URN, t.Extension.URN):
		urn, all = t.Extension.URN, t.Extension.Attributes
	default:
		return a, Attribute{}, false
	}
	found, ok := Find(all, a.Name)
	if !ok {
		return a, found, false
	}
	as := filter.Attr{URN: urn, Name: found.Name}
	if a.Sub == "" {
		return as, found, true
	}
	sub, ok := Find(found.Sub, a.Sub)
	as.Sub = sub.Name
	sub.Many = sub.Many || found.Many
	return as, sub, ok
}

// Resolve is the [filter.Schema] of the type.
func (t Type) Resolve(within, a filter.Attr) (filter.Attr, filter.Typed, bool) {
	if within.Name != "" {
		if a.URN != "" || a.Sub != "" {
			return a, filter.Typed{}, false
		}
		_, outer, _ := t.Attr(within)
		sub, ok := Find(outer.Sub, a.Name)
		return filter.Attr{Name: sub.Name}, filter.Typed{Kind: sub.Type, Exact: sub.Exact}, ok
	}
	as, found, ok := t.Attr(a)
	return as, filter.Typed{Kind: found.Type, Exact: found.Exact, Many: found.Many}, ok
}
