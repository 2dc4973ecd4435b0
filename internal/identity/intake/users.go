package intake

import (
	"context"
	"strings"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/provision"
	"sallyport/internal/web/scim/resource"
)

// CreateUser makes a member of what a source says. The record is kept first: it
// reserves the name. Where an earlier attempt died before the member was made,
// this one goes on with its record.
func (s *Service) CreateUser(ctx context.Context, o Order, in resource.Record) (string, error) {
	id, err := o.Source.Account(in.Text("userName", ""))
	if err != nil {
		return "", err
	}
	r, err := s.reserve(ctx, o, in, provision.User, string(id))
	if err != nil {
		return "", err
	}
	m := directory.Member{ID: id, Org: o.Source.Organisation, Display: display(in), Email: in.Email(), Source: o.Source.Name, External: r.ID}
	if in["active"] == false { // from its first instant: what follows may never happen
		m.State = directory.Suspended
	}
	if err := s.note(ctx, o, sallyport.EventJoined, string(id), map[string]string{"userName": sallyport.OneLine(r.Name)}); err != nil {
		return "", err
	}
	if _, err := s.Directory.Create(ctx, m); err != nil {
		return "", s.abandonUser(ctx, r, err)
	}
	return r.ID, nil
}

// abandonUser abandons a record, unless another attempt made its member meanwhile.
func (s *Service) abandonUser(ctx context.Context, r provision.Record, because error) error {
	m, err := s.Directory.Get(ctx, sallyport.PrincipalID(r.Target))
	switch {
	case err == nil && standsFor(r, m):
		return taken(because)
	case err != nil && sallyport.KindOf(err) != sallyport.NotFound:
		return because // whoever comes next goes on with the record
	}
	return s.abandon(ctx, r, because)
}

// standsFor reports whether a member was made of a record. One of the same name that
// was made otherwise is none of the source's business.
func standsFor(r provision.Record, m directory.Member) bool {
	return m.Source == r.Source && m.External == r.ID
}

// reserve adds a record for a target.
func (s *Service) reserve(ctx context.Context, o Order, in resource.Record, kind provision.Kind, target string) (provision.Record, error) {
	name := in.Text("userName", "")
	body, err := storedUser(in, in["active"] != false)
	if kind == provision.Group {
		name = in.Text("displayName", "")
		body, err = stored(in)
	}
	if err != nil {
		return provision.Record{}, err
	}
	add := provision.Record{Source: o.Source.Name, Kind: kind, Name: name, Target: target, External: in.Text("externalId", ""), Body: body}
	r, err := s.Records.Add(ctx, add)
	if sallyport.ReasonOf(err) != "uniqueness" {
		return r, err
	}
	old, ferr := s.Records.Find(ctx, provision.Query{Source: o.Source.Name, Kind: kind, Name: name})
	if ferr != nil || len(old) == 0 || old[0].Target != target {
		return r, err
	}
	there, ferr := s.there(ctx, old[0])
	if ferr != nil || there {
		return r, err
	}
	return s.Records.Change(ctx, old[0], 0, func(now *provision.Record) error {
		now.Body, now.External = body, add.External
		return nil
	})
}

// there reports whether the directory has what a record stands for.
func (s *Service) there(ctx context.Context, r provision.Record) (bool, error) {
	dump, err := s.Directory.Dump(ctx)
	if err != nil {
		return false, err
	}
	for _, m := range dump.Members {
		if string(m.ID) == r.Target {
			return true, nil
		}
	}
	for _, g := range dump.Groups {
		if g.Name == r.Target {
			return true, nil
		}
	}
	return false, nil
}

// abandon drops the record of what could not be made, unless another attempt went on
// with it meanwhile.
func (s *Service) abandon(ctx context.Context, r provision.Record, because error) error {
	if err := s.Records.Forget(ctx, r); err != nil {
		return err
	}
	return taken(because)
}

// taken says what a conflict is about, and not whose the name is.
func taken(because error) error {
	if sallyport.KindOf(because) != sallyport.Conflict {
		return because
	}
	return sallyport.Wrap("provision", sallyport.Conflict, "the name is taken, or was once; names are never used again", because).Because("uniqueness")
}

// ChangeUser makes of a user what change makes of the record. match is the version
// that it must have, 0 for any.
func (s *Service) ChangeUser(ctx context.Context, o Order, id string, match int64, change Change) error {
	k, v, err := s.changed(ctx, o, asked{provision.User, id, match, change})
	if err != nil {
		return err
	}
	if !standsFor(k.Record, v.members[k.Target]) {
		return sallyport.E("provision", sallyport.NotFound, "the user was never made", "send it again with POST")
	}
	if err := s.mayBeCalled(o, v, k.Record, k.want.Text("userName", "")); err != nil {
		return err
	}
	w, err := k.word(change)
	if err != nil {
		return err
	}
	return s.writeUser(ctx, o, k, w)
}

// A word is what a source said before, and says now, of whether a user may act.
type word struct{ before, now bool }

// word finds out what a change says of "active", by making it of a user of whom the contrary is true as well: what comes out
// alike was said, and otherwise nothing was.
func (k kept) word(change Change) (w word, err error) {
	if w.before, err = said(k.Record); err != nil {
		return w, err
	}
	other := k.now.Clone()
	other["active"] = k.now["active"] != true
	again, err := change(other)
	if err != nil {
		return w, err
	}
	if w.now = w.before; again["active"] == k.want["active"] {
		w.now = k.want["active"] == true
	}
	return w, nil
}

// asked is a change that a source asks for.
type asked struct {
	kind   provision.Kind
	id     string
	match  int64
	change Change
}

// changed reads a record and makes of it what a source wants. Nothing is written.
func (s *Service) changed(ctx context.Context, o Order, a asked) (kept, *view, error) {
	r, err := s.Records.Get(ctx, o.Source.Name, a.kind, a.id)
	if err != nil {
		return kept{}, nil, err
	}
	v, err := s.view(ctx, o.Source.Name)
	if err != nil {
		return kept{}, nil, err
	}
	now, err := v.record(r)
	if err != nil {
		return kept{}, nil, err
	}
	want, err := a.change(now)
	return kept{r, a.match, now, want}, v, err
}

// A kept is a record that changes: from what, to what, and from which version.
type kept struct {
	provision.Record
	match     int64
	now, want resource.Record
}

// mayBeCalled refuses a new userName that stands for somebody else's account.
func (s *Service) mayBeCalled(o Order, v *view, r provision.Record, userName string) error {
	if strings.EqualFold(userName, r.Name) {
		return nil
	}
	id, err := o.Source.Account(userName)
	if err != nil {
		return err
	}
	if _, taken := v.members[string(id)]; taken && string(id) != r.Target {
		return sallyport.E("provision", sallyport.Conflict, "the name is taken, or was once; names are never used again", "").Because("uniqueness")
	}
	return nil
}

// writeUser writes what changed. Where the account is disabled, that is what the
// call is for: it ends everything before the answer. A source brings back whom it had
// disabled itself, and nobody whom others suspended.
func (s *Service) writeUser(ctx context.Context, o Order, k kept, w word) error {
	r, now, want := k.Record, k.now, k.want
	active, _ := want["active"].(bool)
	returns := now["active"] == false && active && !w.before && w.now
	before, err := storedUser(now, w.before)
	if err != nil {
		return err
	}
	body, err := storedUser(want, w.now && !returns) // whose return fails half-way returns when the source says it again
	if err != nil {
		return err
	}
	id := sallyport.PrincipalID(r.Target)
	if string(before) == string(body) && !returns && (active || now["active"] == active) && k.match == 0 {
		return nil
	}
	r, err = s.Records.Change(ctx, r, k.match, func(x *provision.Record) error {
		x.Name, x.External, x.Body = want.Text("userName", ""), want.Text("externalId", ""), body
		return nil
	})
	if err != nil {
		return err
	}
	if now["active"] == true && !active {
		_, err := s.Leaver.Leave(ctx, id, o.By, "disabled by "+o.Source.Name)
		if err := s.alarm(ctx, o, id, err); err != nil {
			return err
		}
	}
	detail := map[string]string{"what": "described", "version": Tag(r.Version)}
	if returns {
		detail = map[string]string{"what": "state", "to": string(directory.Active)}
	}
	if err := s.note(ctx, o, sallyport.EventChanged, string(id), detail); err != nil {
		return err
	}
	if err := s.Directory.Describe(ctx, id, display(want), want.Email()); err != nil || !returns {
		return err
	}
	if err := s.Leaver.Return(ctx, id); err != nil {
		return err
	}
	if body, err = storedUser(want, true); err != nil {
		return err
	}
	_, err = s.Records.Change(ctx, r, 0, func(x *provision.Record) error { x.Body = body; return nil })
	return err
}

// alarm tells operators of a leaver whom only they can let go: nobody else would
// administer what that person administers.
func (s *Service) alarm(ctx context.Context, o Order, id sallyport.PrincipalID, err error) error {
	if sallyport.KindOf(err) != sallyport.Conflict {
		return err
	}
	if nerr := s.note(ctx, o, sallyport.EventAlarm, string(id), map[string]string{"what": "a leaver could not leave", "why": sallyport.OneLine(sallyport.PublicText(err))}); nerr != nil {
		return nerr
	}
	return err
}

// DeleteUser ends a user for good.
func (s *Service) DeleteUser(ctx context.Context, o Order, id string, match int64) error {
	r, err := s.toRemove(ctx, o, provision.User, id, match)
	if err != nil {
		return err
	}
	account := sallyport.PrincipalID(r.Target)
	if m, err := s.Directory.Get(ctx, account); err == nil && !standsFor(r, m) || sallyport.KindOf(err) == sallyport.NotFound && err != nil {
		return s.Records.Remove(ctx, r, 0) // it never became a member
	} else if err != nil {
		return err
	}
	_, err = s.Leaver.Remove(ctx, account, o.By, "removed by "+o.Source.Name)
	if err := s.alarm(ctx, o, account, err); err != nil {
		return err
	}
	return s.Records.Remove(ctx, r, 0)
}

// toRemove returns a record of the version that it must have.
func (s *Service) toRemove(ctx context.Context, o Order, kind provision.Kind, id string, match int64) (provision.Record, error) {
	r, err := s.Records.Get(ctx, o.Source.Name, kind, id)
	if err == nil && match != 0 && match != r.Version {
		err = sallyport.E("provision", sallyport.Conflict, "the record has changed since", "read it again").Because("version")
	}
	return r, err
}
