package provision

import (
	"fmt"
	"slices"
	"strings"

	"sallyport"
)

// A Source is a provider that keeps records here: for one organisation, by one
// account of its own.
type Source struct {
	Name         string
	Organisation string
	Principal    sallyport.PrincipalID // a service; its tokens are the source's
	// Domains are those of the addresses that people sign in with. Of such an address the part before the @ is the
	// account's name; any other userName must itself be a name.
	Domains []string
}

// Check refuses a source that cannot be meant.
func (s Source) Check() error {
	const op = "source of accounts"
	if err := sallyport.CheckName(op, s.Name); err != nil {
		return err
	}
	if err := sallyport.CheckName(op, s.Organisation); err != nil {
		return err
	}
	if id, err := sallyport.ParsePrincipalID(string(s.Principal)); err != nil || id != s.Principal || id.Kind() != sallyport.Service {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.80q is no service", string(s.Principal)), "write service:NAME, an account for this source alone")
	}
	for _, d := range s.Domains {
		if d == "" || strings.ToLower(d) != d || strings.ContainsAny(d, "@ ") {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.80q is no domain", d), "write it in lower case, without an @")
		}
	}
	return nil
}

// Account returns the account that a userName stands for. Two userNames that stand
// for one account are refused where the second is added, never joined.
func (s Source) Account(userName string) (sallyport.PrincipalID, error) {
	name := strings.ToLower(userName)
	if local, domain, ok := strings.Cut(name, "@"); ok {
		if !slices.Contains(s.Domains, domain) {
			return "", sallyport.E("account", sallyport.Invalid, fmt.Sprintf("the domain of %.120q is not one of this source", userName), "the operator lists it under \"domains\"").Because("invalidValue")
		}
		name = local
	}
	id, err := sallyport.NewPrincipalID(sallyport.User, name)
	if err != nil {
		return "", sallyport.Wrap("account", sallyport.Invalid, fmt.Sprintf("no account can have the name of %.120q: 1 to 63 characters of a-z, 0-9, '.', '_', '-'", userName), err).Because("invalidValue")
	}
	return id, nil
}

// Group returns the group that a displayName stands for: in lower case, with
// hyphens for spaces.
func (s Source) Group(displayName string) (string, error) {
	name := strings.Join(strings.Fields(strings.ToLower(displayName)), "-")
	if err := sallyport.CheckName("group", name); err != nil {
		return "", sallyport.Wrap("group", sallyport.Invalid, fmt.Sprintf("no group can have the name %.120q: 1 to 63 letters of a-z, digits, spaces, '.', '_', '-'", displayName), err).Because("invalidValue")
	}
	return s.Organisation + "/" + name, nil
}
