package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport"
	"sallyport/internal/authz/role"
	"sallyport/internal/govern/drift"
	"sallyport/internal/govern/intent"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/workload"
	"sallyport/internal/plumbing/tail"
	"sallyport/internal/web/admin"
)

// drifting looks for what is not as it is meant to be.
type drifting struct {
	runs     []intent.Item // of the configuration, as this process was started with it
	service  *drift.Service
	follower *tail.Follower
}

// driftFile keeps the newest number of the intention outside of the store.
const driftFile = "drift-number"

// openDrift takes what is there at the very first start for what is meant, before anybody can change it.
func (s *Server) openDrift(ctx context.Context) error {
	d := &drift.Service{Store: s.db.Drift(), Observe: s.observe, Restore: s.restore, RestoreText: s.restoreText, Note: s.noteOnly, Clock: s.clock, Logger: s.logger,
		Seal:   func(plain []byte) []byte { return s.box.seal(plain, label(driftFile)) },
		Unseal: func(sealed []byte) ([]byte, error) { return s.box.open(sealed, label(driftFile)) },
		Seen:   func() (int64, error) { return s.seenNumber(driftFile) },
		See:    func(n int64) error { return s.seeNumber(driftFile, n) }}
	s.drift.service = d
	s.drift.follower = &tail.Follower{Name: "drift", Source: s.tailed, Types: drift.Types(), Next: d.Next, Handle: d.Handle, Skipped: s.skipped("drift"), Logger: s.logger}
	kept, err := d.Store.Load(ctx)
	if err == nil && kept.Number == 0 { // what came before is in what is there
		err = d.Store.Advance(ctx, s.trail.Size())
	}
	if err != nil || kept.Number > 0 {
		return err
	}
	err = d.Look(ctx)
	if seen, serr := d.Seen(); sallyport.KindOf(err) == sallyport.Conflict && serr == nil && seen > 0 {
		return nil // it is gone, and the service has alarmed
	}
	return err
}

// adminDrift is what the management API shows and does of all this.
func (s *Server) adminDrift() admin.Drift {
	return admin.Drift{Service: s.drift.service, Need: s.config.Approvals.Need, Alone: s.alone,
		CatchUp: func(ctx context.Context) error { return s.drift.follower.Await(ctx, s.trail.Size()) }}
}

// items are what a configuration's file says, item by item: as it is written, without what follows from the rest.
func (c Config) items() ([]intent.Item, error) {
	var tree map[string]any
	if err := yaml.Unmarshal(c.text, &tree); err != nil {
		return nil, sallyport.E("read configuration", sallyport.Invalid, err.Error(), "")
	}
	return intent.Sections(tree)
}

// observe says what is, from the store and the file.
func (s *Server) observe(ctx context.Context) (drift.Observation, error) {
	var obs drift.Observation
	roles, err := s.rooms.roles.List(ctx)
	if err != nil {
		return obs, err
	}
	people, err := s.rooms.directory.Dump(ctx)
	if err != nil {
		return obs, err
	}
	rules, err := s.rooms.workloads.List(ctx)
	if err != nil {
		return obs, err
	}
	items, err := organised(roles, people, rules)
	if err != nil {
		return obs, err
	}
	inForce, err := intent.Value(map[string]string{"version": s.facts.Snapshot().Engine().Version()})
	if err != nil {
		return obs, err
	}
	items = append(append(items, intent.Item{Kind: intent.Policy, Name: drift.PolicyName, Value: inForce}), s.drift.runs...)
	if obs.Items, err = intent.NewSet(items); err != nil || s.config.file == "" {
		return obs, err
	}
	obs.File = true
	if err := s.readAgain(&obs); err != nil {
		obs.Unread = sallyport.OneLine(sallyport.PublicText(err))
	}
	return obs, nil
}

// readAgain reads the configuration's file as it is now. A pipe in its place would keep whoever opens it waiting.
func (s *Server) readAgain(obs *drift.Observation) error {
	if info, err := os.Stat(s.config.file); err == nil && !info.Mode().IsRegular() {
		return sallyport.E("read configuration", sallyport.Invalid, "what is at "+s.config.file+" is no file", "")
	}
	now, err := LoadConfig(s.config.file)
	if err != nil {
		return err
	}
	items, err := now.items()
	if err != nil {
		return err
	}
	obs.Text = now.text
	obs.Disk, err = intent.NewSet(items)
	return err
}

// A trustValue is what a trust rule says, beside its name.
type trustValue struct {
	Kind      workload.Kind         `json:"kind"`
	Issuer    string                `json:"issuer"`
	Audience  string                `json:"audience,omitempty"`
	Match     map[string]string     `json:"match,omitempty"`
	Any       bool                  `json:"anySubject,omitempty"`
	Keys      string                `json:"keys,omitempty"`
	KeysURL   string                `json:"keysURL,omitempty"`
	Principal sallyport.PrincipalID `json:"principal"`
	Scope     string                `json:"scope"`
	Life      string                `json:"life"`
	Clients   []string              `json:"clients,omitempty"`
}

// organised are the items of the organisation.
func organised(state role.State, people directory.Dump, rules []workload.Rule) ([]intent.Item, error) {
	var all []intent.Item
	for _, r := range state.Roles {
		i, err := intent.NewRole(r.Name, intent.RoleValue{Inherits: r.Inherits, Privileged: r.Privileged})
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	for _, g := range people.Groups {
		i, err := intent.NewGroup(g.Name, intent.GroupValue{In: g.Parents, Guests: g.Guests})
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	behind := map[string]string{}
	for _, m := range people.Members {
		behind[string(m.ID)] = string(m.Person)
		for _, g := range m.Groups {
			i := intent.NewMembership(string(m.ID), g)
			if m.Person != m.ID {
				i.Names = drift.NamesOfMember(string(m.Person))
			}
			all = append(all, i)
		}
	}
	for _, a := range state.Assignments {
		i, err := intent.NewAssignment(a.Subject, a.Role, a.Scope.String(), a.Until)
		if err != nil {
			return nil, err
		}
		i.Names = drift.NamesOf(a.ID, a.Subject, behind[a.Subject])
		all = append(all, i)
	}
	for _, r := range rules {
		value, err := intent.Value(trustValue{r.Kind, r.Issuer, r.Audience, r.Match, r.AnySubject, string(r.Keys), r.KeysURL, r.Principal, r.Scope.String(), r.Life.String(), r.Clients})
		if err != nil {
			return nil, err
		}
		all = append(all, intent.Item{Kind: intent.Trust, Name: r.Name, Value: value})
	}
	return all, nil
}

// restoreText puts the configuration's file back as it is meant, with the mode that it has.
func (s *Server) restoreText(_ context.Context, text []byte) error {
	path := s.config.file
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	err := writeNew(path, text)
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		return sallyport.Wrap("restore configuration", sallyport.Unavailable, "the file "+path+" cannot be written by this server: an operator puts it back", err)
	}
	return nil
}

// restore makes one item what it is meant to be, by the rooms that own it, and writes down that it did.
func (s *Server) restore(ctx context.Context, d intent.Difference, by drift.By) error {
	var err error
	e := sallyport.Event{Type: sallyport.EventChanged, Who: by.Who, Decision: by.Decision, Detail: map[string]string{"request": by.Request}}
	switch d.Kind() {
	case intent.Role:
		var v intent.RoleValue
		if err = d.Want.Read(&v); err == nil {
			err = s.restoreRole(ctx, d.Want.Name, v)
		}
		e.On, e.Detail["what"], e.Detail["inherits"], e.Detail["privileged"] = "role:"+d.Want.Name, "role defined", strings.Join(v.Inherits, " "), strconv.FormatBool(v.Privileged)
	case intent.Group:
		var v intent.GroupValue
		if err = d.Want.Read(&v); err == nil {
			err = s.rooms.directory.DefineGroup(ctx, directory.Group{Name: d.Want.Name, Parents: v.In, Guests: v.Guests})
		}
		e.On, e.Detail["what"], e.Detail["parents"], e.Detail["guests"] = "group:"+d.Want.Name, "group defined", strings.Join(v.In, " "), strconv.FormatBool(v.Guests)
	case intent.Assignment:
		return s.restoreAssignment(ctx, d, by)
	case intent.Membership:
		who, group, _ := strings.Cut(d.Want.Name, " ")
		if d.Want.Value == "" {
			err = s.rooms.directory.RemoveGroup(ctx, sallyport.PrincipalID(who), group)
		} else {
			err = s.rooms.directory.AddGroup(ctx, sallyport.PrincipalID(who), group)
		}
		e.Type, e.On, e.Detail["what"], e.Detail["group"], e.Detail["removed"] = sallyport.EventMoved, who, "group", group, strconv.FormatBool(d.Want.Value == "")
	case intent.Trust:
		e.On, e.Detail["what"], e.Detail["rule"] = "trust:"+d.Want.Name, "trust rule restored", d.Want.Name
		err = s.restoreTrust(ctx, d, by)
	default:
		err = sallyport.E("restore", sallyport.Invalid, d.Key()+" is not restored by this server", "")
	}
	if err != nil {
		return err
	}
	return s.noteOnly(ctx, e)
}

func (s *Server) restoreRole(ctx context.Context, name string, v intent.RoleValue) error {
	r := role.Role{Name: name, Inherits: v.Inherits, Privileged: v.Privileged}
	state, err := s.rooms.roles.List(ctx)
	if err != nil {
		return err
	}
	for _, old := range state.Roles {
		if old.Name == r.Name {
			r.Description = old.Description
		}
	}
	return s.rooms.roles.Define(ctx, r)
}

// restoreAssignment takes away what is not meant and gives what is.
func (s *Server) restoreAssignment(ctx context.Context, d intent.Difference, by drift.By) error {
	note := func(on string, detail map[string]string) error {
		detail["request"] = by.Request
		return s.noteOnly(ctx, sallyport.Event{Type: sallyport.EventMoved, Who: by.Who, Decision: by.Decision, On: on, Detail: detail})
	}
	if d.Is.Value != "" {
		n := slices.IndexFunc(d.Is.Names, func(name string) bool { return strings.HasPrefix(name, "assignment:") })
		if n < 0 {
			return sallyport.E("restore", sallyport.Conflict, d.Key()+" has no id", "look again")
		}
		if err := s.rooms.roles.Unassign(ctx, strings.TrimPrefix(d.Is.Names[n], "assignment:")); err != nil {
			return err
		}
		if err := note(d.Is.Names[n], map[string]string{"what": "role taken away"}); err != nil {
			return err
		}
	}
	if d.Want.Value == "" {
		return nil
	}
	var v intent.AssignmentValue
	parts := strings.Fields(d.Want.Name)
	if err := d.Want.Read(&v); err != nil || len(parts) != 3 {
		return sallyport.Wrap("restore", sallyport.Conflict, d.Key()+" cannot be read", err)
	}
	scope, err := sallyport.ParseRef(parts[2])
	if err != nil {
		return err
	}
	a := role.Assignment{Subject: parts[0], Role: parts[1], Scope: scope, By: by.Who}
	if v.Until != "" {
		if a.Until, err = time.Parse(time.RFC3339Nano, v.Until); err != nil {
			return err
		}
	}
	if a, err = s.rooms.roles.Assign(ctx, a); err != nil {
		return err
	}
	detail := map[string]string{"what": "role assigned", "role": a.Role, "scope": scope.String(), "id": a.ID}
	if v.Until != "" {
		detail["until"] = v.Until
	}
	return note(a.Subject, detail)
}

// restoreTrust takes the rule that is not meant away and makes the one that is: rules never change.
func (s *Server) restoreTrust(ctx context.Context, d intent.Difference, by drift.By) error {
	if d.Is.Value != "" {
		if err := s.rooms.workloads.Remove(ctx, d.Is.Name); err != nil {
			return err
		}
	}
	if d.Want.Value == "" {
		return nil
	}
	var v trustValue
	if err := d.Want.Read(&v); err != nil {
		return err
	}
	scope, err1 := sallyport.ParseScope(v.Scope)
	life, err2 := time.ParseDuration(v.Life)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	r := workload.Rule{Name: d.Want.Name, Kind: v.Kind, Issuer: v.Issuer, Audience: v.Audience, Match: v.Match, AnySubject: v.Any, KeysURL: v.KeysURL,
		Principal: v.Principal, Scope: scope, Life: life, Clients: v.Clients, By: by.Who}
	if v.Keys != "" {
		r.Keys = []byte(v.Keys)
	}
	_, err := s.rooms.workloads.Add(ctx, r)
	return err
}

// configFile is where a configuration was read from, for those who compare it later.
func configFile(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
