package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/approval/signed"
	"sallyport/internal/authz/approver"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/directory"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/admin"
	"sallyport/internal/web/approvals"
	"sallyport/internal/web/drills"
	"sallyport/internal/web/home"
	"sallyport/internal/web/login"
	"sallyport/internal/web/within"
)

// Approvals says how many people approve what somebody asks for, and how. A number alone is Need.
type Approvals struct {
	Need   int  `yaml:"need,omitempty"` // people, 1 by default, where no policy says who
	Signed bool `yaml:"signed"`         // every yes must be signed, also while nobody has an approver's key
	// Approvers is a file of the first approvers' keys: a JSON list as 'sallyport approvers keys' prints it. With it
	// nobody becomes an approver on first use.
	Approvers string `yaml:"approvers"`

	pins []signed.Key
}

// UnmarshalYAML reads a number or a mapping. Zero approvals are an error: they would approve everything.
func (a *Approvals) UnmarshalYAML(node *yaml.Node) error {
	plain := struct {
		Need      *int   `yaml:"need"`
		Signed    bool   `yaml:"signed"`
		Approvers string `yaml:"approvers"`
	}{}
	if node.Kind == yaml.ScalarNode {
		if err := node.Decode(&plain.Need); err != nil {
			return err
		}
	} else {
		for i := 0; i+1 < len(node.Content); i += 2 { // the strictness of the decoder does not reach in here
			switch name := node.Content[i].Value; name {
			case "need", "signed", "approvers":
			default:
				return fmt.Errorf("line %d: approvals has no key %q", node.Content[i].Line, name)
			}
		}
		if err := node.Decode(&plain); err != nil {
			return err
		}
	}
	a.Need, a.Signed, a.Approvers = 1, plain.Signed, plain.Approvers
	if plain.Need != nil {
		a.Need = *plain.Need
		if a.Need < 1 {
			return fmt.Errorf("line %d: %d approvals approve nothing: write 1 or more", node.Line, a.Need)
		}
	}
	return nil
}

func (a *Approvals) check() error {
	const op = "read configuration"
	if a.Need == 0 {
		a.Need = 1 // the key is not there
	}
	if a.Need < 1 || a.Need > approval.MaxNeed {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%d approvals are not possible", a.Need), fmt.Sprintf("write 1 to %d", approval.MaxNeed))
	}
	if a.Approvers == "" {
		return nil
	}
	raw, err := os.ReadFile(a.Approvers)
	if err != nil {
		return sallyport.Wrap(op, sallyport.Invalid, "the file of approvers' keys cannot be read", err)
	}
	if a.pins, err = signed.ParseKeys(raw); err != nil {
		return err
	}
	if len(a.pins) == 0 {
		return sallyport.E(op, sallyport.Invalid, "the file of approvers' keys holds none", "leave it out, or name the first approvers")
	}
	return nil
}

// openApprovals opens who approves, and what comes of it.
func (s *Server) openApprovals(ctx context.Context) error {
	r := &s.rooms
	r.approvers = &approver.Service{Store: s.db.Approver(), Pins: s.config.Approvals.pins, Clock: s.steady.Now, Recall: s.recallApprovers, Remember: s.rememberApprovers}
	r.approvals = &approval.Service{Store: s.db.Approval(), Clock: s.steady.Now, Rand: rand.Reader, Person: r.person,
		Keys: r.approvers.Keys, Signed: s.config.Approvals.Signed, Policy: s.policyVersion}
	r.grants = &grant.Service{Store: s.db.Grant(), Approvals: r.approvals, Clock: s.steady.Now, Need: s.config.Approvals.Need}
	return nil
}

// policyVersion is the set in force, "" before there is one.
func (s *Server) policyVersion() string {
	if s.facts == nil {
		return ""
	}
	return s.facts.Snapshot().Engine().Version()
}

// approversSeen is the file that remembers the longest chain of approvers' keys. It lies sealed beside the other secrets: who can write to
// the store cannot make the server forget that there were approvers.
const approversSeen = "approvers"

func (s *Server) recallApprovers() (seen approver.Seen, err error) {
	sealed, err := os.ReadFile(s.path("secrets", approversSeen+".sealed"))
	if errors.Is(err, os.ErrNotExist) {
		return seen, nil
	}
	if err != nil {
		return seen, err
	}
	plain, err := s.box.open(sealed, label(approversSeen))
	if err != nil {
		return seen, err
	}
	return seen, json.Unmarshal(plain, &seen)
}

func (s *Server) rememberApprovers(seen approver.Seen) error {
	plain, err := json.Marshal(seen)
	if err != nil {
		return err
	}
	return writeNew(s.path("secrets", approversSeen+".sealed"), s.box.seal(plain, label(approversSeen)))
}

// void remembers which grants were told of and why, so that each is alarmed once for each reason.
type void struct {
	mu   sync.Mutex
	told map[string]bool
}

// provedGrants are the grants that count: those whose approval verifies, signatures and all, on what is kept now. What does
// not is left out, recorded, and found.
func (s *Server) provedGrants(ctx context.Context, now time.Time) ([]grant.Grant, error) {
	good, refused, err := s.rooms.grants.Proved(ctx, now)
	if err != nil {
		return nil, err
	}
	for _, x := range refused {
		if err := s.tellVoid(ctx, x); err != nil {
			return nil, err
		}
	}
	return good, nil
}

func (s *Server) tellVoid(ctx context.Context, x grant.Refused) error {
	s.void.mu.Lock()
	defer s.void.mu.Unlock()
	if s.void.told[x.ID+" "+sallyport.PublicText(x.Why)] {
		return nil
	}
	err := s.noteOnly(ctx, sallyport.Event{Type: sallyport.EventApprovalVoid, Who: x.Principal, On: x.Ref.String(), Reasons: []string{sallyport.ReasonOf(x.Why)},
		Detail: map[string]string{"grant": x.ID, "request": x.Request, "why": sallyport.OneLine(sallyport.PublicText(x.Why))}})
	if err != nil {
		return err
	}
	if s.void.told == nil {
		s.void.told = map[string]bool{}
	}
	s.void.told[x.ID+" "+sallyport.PublicText(x.Why)] = true
	return nil
}

// adminApprovers is what the management API needs of approvers' keys.
func (s *Server) adminApprovers() admin.Approvers {
	return admin.Approvers{Keys: s.rooms.approvers, Passkeys: s.rooms.passkeys.Usable, Public: s.rooms.passkeys.Public, Connectors: s.connector}
}

// pageScope is what the session of a browser may do on our own pages, and no more. Reading is in it for the list of what
// somebody may know of: no route of the management API hands out what is in a model or a dataset.
func pageScope() sallyport.Scope {
	return sallyport.Scope{string(sallyport.ServerRead), string(sallyport.GrantRequest), string(sallyport.GrantApprove), string(sallyport.PolicyApprove),
		string(sallyport.LabelChange), string(sallyport.HoldLift), string(sallyport.SystemConfigure), string(sallyport.AuditRead),
		string(sallyport.ModelList), string(sallyport.ModelRead), string(sallyport.DatasetRead), string(sallyport.EndpointUse)}
}

// onPages is who a browser's session stands for on our own pages.
func (s *Server) onPages(ctx context.Context, cookie secret.Text) (sallyport.Principal, error) {
	x, _, err := s.rooms.signin.Session(ctx, cookie)
	if err != nil {
		return sallyport.Principal{}, err
	}
	return sallyport.Principal{ID: x.Principal, Person: x.Person, Session: x.ID, Assurance: x.Assurance, Methods: x.Methods, AuthTime: x.AuthTime, Expires: x.End,
		Scope: pageScope(), Client: "sallyport-pages"}, nil
}

// openOwnPages adds the pages on which people see what they may do, ask and approve. They ask the management API within the process, with the
// browser's session for a proof.
func (s *Server) openOwnPages(mux *http.ServeMux, pages *login.Door) error {
	own := admin.New(admin.API{Guard: s.guard, Facts: s.facts, Audience: s.config.External + apiPrefix, External: s.config.External, Logger: s.logger, Rooms: s.adminRooms(),
		Proof: func(r *http.Request) guard.Proof {
			return guard.Proof{Session: pages.Bearer(r), IP: httpsafe.PeerIP(r)}
		}})
	desk, err := within.New(within.Config{API: own, Log: s.logger, Now: s.clock,
		Session: func(w http.ResponseWriter, r *http.Request, back string) (within.Visitor, bool) {
			x, ok := pages.RequireSession(w, r, back)
			m, _ := s.facts.Snapshot().Member(x.Principal)
			return within.Visitor{ID: x.Principal, Session: x.ID, Org: m.Org}, ok
		},
		Seal: func(plain []byte) []byte { return s.box.seal(plain, label("page-offer")) },
		Open: func(sealed []byte) ([]byte, error) { return s.box.open(sealed, label("page-offer")) },
		Bypassed: func(r *http.Request, b within.Bypass) error {
			return s.noteOnly(context.WithoutCancel(r.Context()), sallyport.Event{Type: sallyport.EventBypassed, Who: b.ID, On: "session:" + b.Session,
				Reasons: []string{"ui.bypass"}, Detail: map[string]string{"path": b.Path, "decision": b.Decision, "ip": httpsafe.PeerIP(r)}})
		}})
	if err != nil {
		return err
	}
	door, err := approvals.New(desk)
	if err != nil {
		return err
	}
	door.Routes(mux)
	lures, err := drills.New(desk)
	if err != nil {
		return err
	}
	lures.Routes(mux)
	first, err := home.New(desk)
	if err != nil {
		return err
	}
	first.Routes(mux)
	return nil
}

// mayAnswer are the active people who may answer a request: by an approver's key, by the groups that it asks, or by policy.
// A request that is not there is NotFound: what is asked is written down before it is kept.
func (s *Server) mayAnswer(ctx context.Context, request string) ([]sallyport.PrincipalID, error) {
	r, err := s.rooms.approvals.Get(ctx, request)
	if err != nil || r.State != approval.Pending {
		return nil, err
	}
	action, on, votable := admin.Votable(ctx, r, s.rooms.breakglass.Scope)
	if !votable {
		return nil, nil
	}
	var keys signed.Keys
	if action == "" {
		if keys, err = s.rooms.approvers.Keys(ctx); err != nil && sallyport.KindOf(err) == sallyport.Unavailable {
			return nil, err
		}
	}
	snap, now := s.facts.Snapshot(), s.clock()
	var people []sallyport.PrincipalID
	for _, m := range snap.Sorted() {
		if m.ID.Kind() != sallyport.User || m.ID != m.Person || m.ID == r.AskerPerson || m.State != directory.Active {
			continue
		}
		may := len(keys.Of(m.ID, now)) > 0
		if action != "" {
			may = asksFor(snap, m.ID, r.Groups, on) && mayVote(snap, m.ID, action, on, now)
		}
		if may {
			people = append(people, m.ID)
		}
	}
	return people, nil
}

// asksFor reports whether somebody is of one of the groups that a request asks, if it asks any.
func asksFor(snap *facts.Snapshot, id sallyport.PrincipalID, groups []sallyport.Quorum, on sallyport.Ref) bool {
	x, known := snap.Resolve(on)
	in := len(groups) == 0
	for _, q := range groups {
		in = in || known && q.Group == sallyport.Owners && slices.Contains(snap.Catalog().Owners(x), id) || snap.Within(id, strings.TrimPrefix(q.Group, "group:"))
	}
	return in && known
}

// mayVote reports whether the policies permit somebody who proves themselves well to vote.
func mayVote(snap *facts.Snapshot, id sallyport.PrincipalID, action sallyport.Action, on sallyport.Ref, now time.Time) bool {
	who := whatif.Asker{At: now, Principal: sallyport.Principal{ID: id, Person: id, Scope: whatif.Everything(), Session: "whatif", Assurance: sallyport.Hardware, AuthTime: now}}
	d, _, err := whatif.Can(snap, who, action, on)
	return err == nil && (d.Outcome == sallyport.Allow || d.Outcome == sallyport.StepUp)
}
