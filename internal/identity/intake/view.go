package intake

import (
	"context"
	"strings"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/provision"
	"sallyport/internal/web/scim/resource"
)

// A view joins what a source said with what the directory has, which is the truth
// about who may act and who is in a group.
type view struct {
	places   string                        // of records
	members  map[string]directory.Member   // by id
	byTarget map[string]provision.Record   // users and groups of the source, by what they are in the directory
	in       map[string][]provision.Record // users of the source, by the group that they are in
}

func (s *Service) view(ctx context.Context, source string) (*view, error) {
	v := &view{places: s.Places, members: map[string]directory.Member{}, byTarget: map[string]provision.Record{}, in: map[string][]provision.Record{}}
	dump, err := s.Directory.Dump(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range dump.Members {
		v.members[string(m.ID)] = m
	}
	groups := make(map[string]directory.Group, len(dump.Groups))
	for _, g := range dump.Groups {
		groups[g.Name] = g
	}
	for _, kind := range []provision.Kind{provision.Group, provision.User} {
		all, err := s.Records.Find(ctx, provision.Query{Source: source, Kind: kind})
		if err != nil {
			return nil, err
		}
		for _, r := range all {
			if kind == provision.User && !standsFor(r, v.members[r.Target]) || kind == provision.Group && !keeps(r, groups[r.Target]) {
				continue // nothing yet, or somebody or a group of the same name, which is not the source's
			}
			v.byTarget[r.Target] = r
			if kind == provision.User {
				for _, g := range v.members[r.Target].Groups {
					v.in[g] = append(v.in[g], r)
				}
			}
		}
	}
	return v, nil
}

// record returns all of a record, as its source sees it.
func (v *view) record(r provision.Record) (resource.Record, error) {
	out, err := resource.Unmarshal(r.Body)
	if err != nil {
		return nil, sallyport.Wrap("read record", sallyport.Other, "the record "+r.ID+" cannot be read", err)
	}
	out["id"] = r.ID
	out["meta"] = map[string]any{"resourceType": string(r.Kind), "created": resource.Stamp(r.Created), "lastModified": resource.Stamp(r.Modified),
		"location": v.location(r), "version": Tag(r.Version)}
	var listed []any
	if r.Kind == provision.Group {
		if _, made := v.byTarget[r.Target]; !made {
			return out, nil
		}
		for _, u := range v.in[r.Target] {
			listed = append(listed, map[string]any{"value": u.ID, "$ref": v.location(u), "type": "User"})
		}
		resource.Set(out, "members", some(listed))
		return out, nil
	}
	m := v.members[r.Target]
	if !standsFor(r, m) {
		m = directory.Member{}
	}
	out["active"] = m.State == directory.Active
	for _, g := range m.Groups {
		if group, ok := v.byTarget[g]; ok {
			listed = append(listed, map[string]any{"value": group.ID, "$ref": v.location(group), "display": group.Name, "type": "direct"})
		}
	}
	resource.Set(out, "groups", some(listed))
	return out, nil
}

// some is a list, or nothing at all when it is empty.
func some(l []any) any {
	if len(l) == 0 {
		return nil
	}
	return l
}

func (v *view) location(r provision.Record) string {
	return v.places + "/" + string(r.Kind) + "s/" + r.ID
}

// said is what a source said last of whether a user may act. The directory may know better: others can suspend somebody, and
// the source does not take that back. Where it never said, it said yes.
func said(r provision.Record) (bool, error) {
	body, err := resource.Unmarshal(r.Body)
	if err != nil {
		return false, sallyport.Wrap("read record", sallyport.Other, "the record "+r.ID+" cannot be read", err)
	}
	return body["active"] != false, nil
}

// storedUser is stored, with the word of the source on whether the user may act.
func storedUser(r resource.Record, active bool) ([]byte, error) {
	keep := own(r)
	keep["active"] = active
	return resource.Marshal(keep)
}

// stored is what of a record is kept: the rest is the server's, or the directory's.
func stored(r resource.Record) ([]byte, error) { return resource.Marshal(own(r)) }

func own(r resource.Record) resource.Record {
	keep := r.Clone()
	for _, name := range []string{"id", "meta", "active", "groups", "members"} {
		delete(keep, name)
	}
	return keep
}

// display is what people read of a user.
func display(r resource.Record) string {
	for _, s := range []string{r.Text("displayName", ""), r.Text("name", "formatted"), strings.TrimSpace(r.Text("name", "givenName") + " " + r.Text("name", "familyName")), r.Text("userName", "")} {
		if s = strings.TrimSpace(sallyport.OneLine(s)); s != "" {
			return string([]rune(s)[:min(len([]rune(s)), 128)])
		}
	}
	return ""
}
