package server

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/approver"
	"sallyport/internal/authz/breakglass"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/hold"
	lowering "sallyport/internal/authz/label"
	"sallyport/internal/authz/role"
	"sallyport/internal/govern/drill"
	"sallyport/internal/govern/training"
	"sallyport/internal/identity/caller"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/federation"
	"sallyport/internal/identity/habit"
	"sallyport/internal/identity/leaver"
	"sallyport/internal/identity/passkey"
	"sallyport/internal/identity/provision"
	"sallyport/internal/identity/recovery"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/signin"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/identity/token/dpop"
	"sallyport/internal/identity/token/exchange"
	"sallyport/internal/identity/token/keys"
	"sallyport/internal/identity/token/logout"
	"sallyport/internal/identity/workload"
)

// Administrator is the role of the first administrator, on the system.
const Administrator = "administrator"

// hashQueue is how many sign-ins may wait for a password to be hashed.
const hashQueue = 32

// rooms are the rooms of identity, authz and artifact that keep records.
type rooms struct {
	directory   *directory.Service
	throttle    *credential.Throttle
	credentials *credential.Service
	sessions    *session.Service
	passkeys    *passkey.Service
	recovery    *recovery.Service
	signin      *signin.Service
	clients     *clients.Registry
	keys        *keys.Keys
	verifier    *token.Verifier
	proofs      *dpop.Proofs
	caller      *caller.Service
	tokens      *token.Issuer
	codes       *codes.Service
	exchange    *exchange.Service
	logouts     *logout.Sender
	roles       *role.Service
	approvals   *approval.Service
	approvers   *approver.Service
	grants      *grant.Service
	holds       *hold.Service
	labels      *lowering.Service
	catalog     *catalog.Service
	policies    *change.Service
	devices     *device.Service
	habits      *habit.Service
	leaver      *leaver.Service
	workloads   *workload.Service
	provisioned *provision.Service
	federation  *federation.Service
	breakglass  *breakglass.Service
	training    *training.Service
	drills      *drill.Service
}

func (s *Server) openRooms(ctx context.Context) error {
	r := &s.rooms
	r.directory = &directory.Service{Store: s.db.Directory(), Now: s.clock}
	r.catalog = &catalog.Service{Store: s.db.Catalog(), Clock: s.clock}
	if err := s.openIdentity(ctx); err != nil {
		return err
	}
	r.roles = &role.Service{Store: s.db.Role(), Clock: s.clock, Rand: rand.Reader, People: r.people, Administrator: Administrator,
		Machines: r.machines, Conflicts: s.config.Separate, OnSystem: []string{auditors, proposers}}
	r.directory.Apart = r.apart
	if err := s.openApprovals(ctx); err != nil {
		return err
	}
	r.labels = &lowering.Service{Approvals: r.approvals, Lower: r.catalog.Lower, Need: s.config.Approvals.Need, Clock: s.steady.Now}
	r.holds = &hold.Service{Store: s.db.Hold(), Clock: s.clock, Rand: rand.Reader, Person: r.held, Probation: s.config.Probation.Lasts}
	r.leaver = s.newLeaver()
	r.training = &training.Service{Store: s.db.Training(), Note: s.noteOnly, Clock: s.clock}
	if err := s.openWorkloads(); err != nil {
		return err
	}
	_, err := r.grants.Recover(ctx)
	return err
}

func (s *Server) openIdentity(ctx context.Context) error {
	r := &s.rooms
	pepper, err := s.box.file(s.path("secrets"), "pepper", random(32))
	if err != nil {
		return err
	}
	hasher, err := credential.NewHasher(pepper, nil, hashQueue, rand.Reader)
	if err != nil {
		return err
	}
	r.throttle = &credential.Throttle{Store: s.db.Throttle(), Limits: credential.DefaultLimits(), Now: s.steady.Now}
	r.credentials = &credential.Service{Store: s.db.Credential(), Throttle: r.throttle, Hasher: hasher, Policy: credential.DefaultPolicy(), Issuer: "Sallyport",
		Seal: func(v []byte, c string) ([]byte, error) { return s.box.seal(v, label(c)), nil },
		Open: func(v []byte, c string) ([]byte, error) { return s.box.open(v, label(c)) }, Now: s.clock, Random: rand.Reader}
	r.sessions = &session.Service{Store: s.db.Session(), Limits: session.DefaultLimits(), Now: s.steady.Now, Random: rand.Reader}
	r.signin = &signin.Service{Directory: r.directory, Credentials: r.credentials, Sessions: r.sessions, Flows: s.db.SignIn(),
		Require: sallyport.MultiFactor, Note: s.noteOnly, Now: s.clock, Random: rand.Reader}
	if err := s.openProving(); err != nil {
		return err
	}
	if err := s.openDevices(ctx); err != nil {
		return err
	}
	return s.openTokens(ctx)
}

func (s *Server) noteOnly(ctx context.Context, e sallyport.Event) error {
	_, err := s.note(ctx, e)
	return err
}

// revoked returns the ids of sessions and families that ended since a time.
func (r *rooms) revoked(ctx context.Context, since time.Time) ([]string, error) {
	sessions, err := r.sessions.Revoked(ctx, since)
	if err != nil {
		return nil, err
	}
	families, err := r.tokens.Families.Revoked(ctx, since)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, x := range sessions {
		ids = append(ids, x.ID)
	}
	for _, x := range families {
		ids = append(ids, x.Family)
	}
	r.verifier.Forget(families...)
	return ids, nil
}

// risks returns how risky the live sessions look.
func (r *rooms) risks(ctx context.Context) (map[string]int, error) {
	list, err := r.sessions.Risky(ctx)
	risks := make(map[string]int, len(list))
	for _, x := range list {
		risks[x.ID] = x.Risk
	}
	return risks, err
}

// person returns who stands behind a principal.
func (r *rooms) person(ctx context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) {
	m, err := r.directory.Get(ctx, id)
	return m.Person, err
}

// people returns the active people behind a role's subject.
func (r *rooms) people(ctx context.Context, subject string) ([]sallyport.PrincipalID, error) {
	group, ok := strings.CutPrefix(subject, "group:")
	if !ok {
		id, err := sallyport.ParsePrincipalID(subject)
		if err != nil {
			return nil, err
		}
		m, err := r.directory.Get(ctx, id)
		if err != nil || m.State != directory.Active {
			return nil, err
		}
		return []sallyport.PrincipalID{m.Person}, nil
	}
	d, err := r.directory.Dump(ctx)
	if err != nil {
		return nil, err
	}
	within, known := groupsWithin(d.Groups, group)
	if !known {
		return nil, sallyport.E("role", sallyport.NotFound, "there is no group "+group, "define it with 'sallyport group add'")
	}
	var people []sallyport.PrincipalID
	for _, m := range d.Members {
		if m.State == directory.Active && slices.ContainsFunc(m.Groups, func(g string) bool { return within[g] }) && !slices.Contains(people, m.Person) {
			people = append(people, m.Person)
		}
	}
	return people, nil
}

// groupsWithin returns the groups that are name or lie in it.
func groupsWithin(groups []directory.Group, name string) (within map[string]bool, known bool) {
	within = map[string]bool{name: true}
	for range groups { // as often as the hierarchy can be deep
		for _, g := range groups {
			known = known || g.Name == name
			if slices.ContainsFunc(g.Parents, func(p string) bool { return within[p] }) {
				within[g.Name] = true
			}
		}
	}
	return within, known
}

// held returns the person whom a hold's target concerns, "" for a resource.
func (r *rooms) held(ctx context.Context, target string) (sallyport.PrincipalID, error) {
	kind, name, _ := strings.Cut(target, ":")
	switch kind {
	case "user", "service", "agent":
		return r.person(ctx, sallyport.PrincipalID(target))
	case "device":
		d, err := r.devices.Get(ctx, name, "")
		return d.Owner, err
	case "session":
		x, err := r.sessions.Get(ctx, name)
		return x.Person, err
	case "family":
		list, err := r.tokens.Families.Families(ctx, token.Selector{Family: name})
		if err == nil && len(list) == 0 {
			err = sallyport.E("place hold", sallyport.NotFound, "there is no such token family", "list them with 'sallyport sessions'")
		}
		if err != nil {
			return "", err
		}
		return list[0].Person, nil
	}
	return "", nil
}

// openFirst makes the first administrator when there is nobody yet, and the
// one-time link by which they set up their proof. No account has a default
// password: until the link is used nobody can sign in.
func (s *Server) openFirst(ctx context.Context) error {
	d, err := s.rooms.directory.Dump(ctx)
	if err != nil || s.config.Admin == "" {
		return err
	}
	id, err := sallyport.NewPrincipalID(sallyport.User, s.config.Admin)
	if err != nil {
		return err
	}
	if len(d.Members) == 0 {
		if err := s.makeFirst(ctx, id); err != nil {
			return err
		}
	}
	if has, err := s.enrolled(ctx, d, id); err != nil || has {
		return err
	}
	link, _, err := s.rooms.credentials.IssueLink(ctx, id)
	if err != nil {
		return err
	}
	s.FirstLink = s.config.External + "/enrol/" + link.Reveal()
	_, err = s.note(ctx, sallyport.Event{Type: sallyport.EventChanged, On: string(id), Detail: map[string]string{"what": "enrolment link of the first administrator"}})
	return err
}

// enrolled reports whether the first administrator has a credential, or is not
// alone any more: then links come from administrators.
func (s *Server) enrolled(ctx context.Context, d directory.Dump, id sallyport.PrincipalID) (bool, error) {
	if len(d.Members) > 1 {
		return true, nil
	}
	f, err := s.db.Credential().Factors(ctx, id)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return false, nil
	}
	return err == nil && f.Password.Hash != "", err
}

// makeFirst adds the organisation and the account, which runs Sallyport and the
// organisation's catalogue, and may neither use nor take a model.
func (s *Server) makeFirst(ctx context.Context, id sallyport.PrincipalID) error {
	org := s.config.Organisation
	if err := s.rooms.catalog.Put(ctx, catalog.Item{Org: &catalog.Org{Name: org}}); err != nil {
		return err
	}
	if _, err := s.rooms.directory.Create(ctx, directory.Member{ID: id, Display: id.Name(), Org: org}); err != nil {
		return err
	}
	first := func(detail map[string]string) error {
		return s.noteOnly(ctx, sallyport.Event{Type: sallyport.EventChanged, On: string(id), Detail: detail})
	}
	if err := first(map[string]string{"what": "joined", "org": org, "owner": string(id)}); err != nil {
		return err
	}
	if err := s.rooms.roles.Define(ctx, role.Role{Name: Administrator, Description: "runs Sallyport itself", Privileged: true}); err != nil {
		return err
	}
	for _, scope := range []sallyport.Ref{{Kind: sallyport.SystemKind}, {Kind: sallyport.OrganisationKind, Org: org}} {
		given, err := s.rooms.roles.Assign(ctx, role.Assignment{Subject: string(id), Role: Administrator, Scope: scope, By: id})
		if err != nil {
			return err
		}
		if err := first(map[string]string{"what": "role assigned", "role": Administrator, "scope": scope.String(), "id": given.ID}); err != nil {
			return err
		}
	}
	return s.facts.Sync(ctx)
}
