package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/demo/people"
	"sallyport/internal/identity/jose"
	"sallyport/internal/web/api"
)

// A step is one thing that somebody does, and what must come of it.
type step struct {
	who  string // a name of the cast, with a plus for those who join by this step; or somebody outside
	what string // for the reader
	want string // OUTCOME, or OUTCOME REASONS as the log has them
	do   func(*story, context.Context, *people.Person) (seen, error)
}

// A chapter is some steps under a heading.
type chapter struct {
	title string
	steps []step
}

// seen is what came of a step: as the log says where there was a decision, as the demo found out where there was none.
type seen struct {
	action, resource, outcome, reason, decision string
	note                                        string

	asked *sallyport.Asked // what the decision says about who asked, and how
}

// A story is the play under way, and what later steps need of earlier ones.
type story struct {
	*stage
	out  *report
	wire *http.Client // of the stock clients
	cast map[string]*people.Person
	told uint64 // the log's number behind the last decision that was told

	firstHead []byte // a checkpoint kept from the beginning
	denied    string // decision: ana's weights
	request   api.Request
	second    api.Request  // rita's own
	short     api.Request  // eva's
	proposal  api.Proposal // adam's
	hold      api.Hold
	download  *transfer
	stream    *transfer
	stolen    string      // access token of the thief
	laptop    *laptop     // tess's
	platform  jose.Signer // of CI jobs and agents
	ci        string      // the job's token
	lea       string      // her id in the provider's words
}

// newStory sets the play up.
func newStory(st *stage, out *report) *story {
	return &story{stage: st, out: out, cast: map[string]*people.Person{}}
}

// chapters is the story.
func (s *story) chapters() []chapter {
	return slices.Concat(s.rights(), s.identities(), s.evidence())
}

// rights are what people may do with models, and how that begins and ends.
func (s *story) rights() []chapter {
	return []chapter{
		{"Nobody has a password until they choose one", []step{
			{"+adam", "opens the one-time link that the first start printed, chooses a password, sets up his codes", "enrolled", (*story).firstEnrols},
			{"anybody", "opens the same link a second time", "refused", (*story).linkAgain},
			{"adam", "signs the command line in: authorization code with PKCE, consent in the browser", "signed-in", (*story).adamSignsIn},
			{"+alba", "is invited as the auditor, enrols and signs in; from here on she reads every decision in the log", "signed-in", (*story).auditorJoins},
			{"adam", "sets up acme: groups, people, roles, projects, models", "allow administrator.run", (*story).setsUp},
			{"everybody", "enrols by a link of their own, signs in and adds a passkey", "signed-in", (*story).everybodyEnrols},
			{"adam", "proposes three more policies, each with owner and reason", "allow administrator.run", (*story).proposes},
			{"adam", "tries to put them in force alone", "refused", (*story).activatesAlone},
			{"rita", "reads what would change, and approves exactly that text", "allow reviewer.approve", (*story).approvesPolicy},
			{"adam", "puts the approved set in force, as the next epoch", "allow administrator.run", (*story).activates},
		}},
		{"A model comes in", []step{
			{"ana", "pushes harbour, restricted", "allow developer.make", (*story).pushHarbour},
			{"ana", "pushes jetty, internal", "allow developer.make", (*story).pushJetty},
			{"tess", "pushes keel, restricted", "allow developer.make", (*story).pushKeel},
			{"ana", "pushes a pickle file", "refused", (*story).pushPickle},
			{"ana", "promotes what she pushed herself", "deny demo.fresh-proof release.not-by-its-maker", (*story).promoteOwn},
			{"oto", "promotes harbour to staging, signed in a while ago", "step-up demo.fresh-proof", (*story).promoteStale},
			{"oto", "does what the answer told him: signs in again, with a code", "raised", (*story).raises},
			{"oto", "promotes harbour to staging", "allow operator.release", (*story).promotes},
		}},
		{"Use is not possession", []step{
			{"ana", "chats with harbour", "allow developer.work", (*story).chats},
			{"ana", "streams from harbour", "allow developer.work", (*story).streams},
			{"ana", "reads harbour's tokenizer, as Hugging Face clients do", "allow developer.work", (*story).tokenizer},
			{"ana", "downloads harbour's weights, as Hugging Face clients do", "deny proof.restricted-weights weights.restricted-need-a-grant", (*story).weightsByHub},
			{"ana", "asks for one byte of them", "deny proof.restricted-weights weights.restricted-need-a-grant", (*story).oneByte},
			{"ana", "pulls them with the command line", "deny proof.restricted-weights weights.restricted-need-a-grant", (*story).weightsByVault},
			{"ana", "reads keel's card", "allow reader.know", (*story).readsCard},
			{"ana", "calls keel", "deny default.deny", (*story).callsClosed},
			{"ana", "lists the models that she may call: keel is not among them", "allow everybody.self", (*story).lists},
			{"nora", "asks for harbour, of which she may not know, and for a model that is not there: the same 404", "deny default.deny", (*story).hidden},
		}},
		{"One way through", []step{
			{"ana", "loads an adapter into the model server", "deny route.unmapped", (*story).loadsAdapter},
			{"ana", "calls the model server's unguarded double of inference", "deny route.unmapped", (*story).invocations},
			{"ana", "asks for a Xet token, which would open the store behind the hub", "deny route.unmapped", (*story).xetToken},
			{"ana", "tries a route that the vault does not have", "deny route.unmapped", (*story).vaultUnmapped},
			{"ana", "tries a route that the management API does not have", "deny route.unmapped", (*story).apiUnmapped},
			{"ana", "names two models in one request", "refused", (*story).twoModels},
			{"ana", "shows the hub's token at the OpenAI door", "401", (*story).wrongDoor},
			{"anybody", "shows no token at any door", "401", (*story).noToken},
		}},
		{"Just in time", []step{
			{"ana", "asks for the weights for an hour, with a reason", "allow everybody.request", (*story).asks},
			{"ana", "approves it herself", "deny default.deny", (*story).approvesOwn},
			{"rita", "asks for the weights too", "allow everybody.request", (*story).reviewerAsks},
			{"rita.two", "is rita's second account, and approves rita's request", "refused", (*story).aliasApproves},
			{"ravi", "finds ana's request in his inbox and approves it", "allow reviewer.approve", (*story).approves},
			{"ana", "pulls the weights: no refusal, but a passkey is wanted first", "step-up proof.restricted-weights", (*story).wantsPasskey},
			{"ana", "does what the answer told her: signs in again, by her passkey", "raised", (*story).provesByPasskey},
			{"ana", "pulls the weights; they are the pushed ones, byte for byte", "allow demo.measured-rate weights.granted", (*story).pulls},
			{"ana", "reads a range of them", "allow demo.measured-rate weights.granted", (*story).ranged},
			{"eva", "signs in again, by her passkey", "raised", (*story).provesByPasskey},
			{"eva", "asks for them for two seconds", "allow everybody.request", (*story).asksShort},
			{"ravi", "approves it", "allow reviewer.approve", (*story).approvesShort},
			{"eva", "downloads them; the grant ends before the file does", "ended", (*story).expires},
		}},
		{"A permission can be cut", []step{
			{"rita", "locks ana, while ana downloads weights and streams an answer", "allow reviewer.approve", (*story).locks},
			{"ana", "sees her download break off", "cut", (*story).downloadBroke},
			{"ana", "reads in her stream why it ends, as the error event of her client", "cut", (*story).streamTold},
			{"ana", "chats again", "hold", (*story).chatsHeld},
			{"rita", "lifts the lock that she placed", "refused", (*story).unlocksOwn},
			{"ravi", "lifts it, with a reason", "allow reviewer.approve", (*story).unlocks},
			{"ana", "chats again", "allow developer.work", (*story).chats},
			{"rita", "revokes ana's grant", "allow reviewer.approve", (*story).revokes},
			{"ana", "downloads the weights once more", "deny weights.restricted-need-a-grant", (*story).weightsByHub},
		}},
	}
}

// identities are who acts, and what becomes of it when that is not true any more.
func (s *story) identities() []chapter {
	return []chapter{
		{"A token is stolen", []step{
			{"thief", "copies ana's refresh token, and gets an access token for it", "issued", (*story).steals},
			{"ana", "uses the same refresh token, the second time that it is used", "refused invalid_grant", (*story).reuses},
			{"thief", "shows the access token: the whole family is dead", "401", (*story).thiefOut},
			{"alba", "finds the incident in the log", "recorded token.reused", (*story).incident},
			{"ana", "signs in again", "signed-in", (*story).anaSignsIn},
			{"ana", "signs out everywhere, while a stream is running", "allow everybody.self", (*story).logsOut},
			{"ana", "uses a token from before", "401", (*story).oldToken},
			{"ana", "signs in again, by her passkey alone: no password, no code", "signed-in", (*story).anaSignsIn},
			{"rita", "looks at what is held against ana since, and ends it: the thief is out", "cleared", (*story).clearsRisk},
		}},
		{"Bound to a machine", []step{
			{"eva", "signs her command line in, bound to a key of this machine", "signed-in", (*story).binds},
			{"eva", "asks who she is, with the proof of the key", "allow everybody.self", (*story).boundCall},
			{"thief", "copies a token of hers and shows it elsewhere", "401", (*story).shownElsewhere},
			{"alba", "finds the theft in the log", "recorded token.theft", (*story).theft},
			{"tess", "enrols her laptop, with a key in software", "enrolled", (*story).enrolsLaptop},
			{"tess", "calls keel from it: the decision knows the device", "allow developer.work", (*story).fromLaptop},
			{"tess", "removes the laptop, while an answer streams to it", "cut device.removed", (*story).removesLaptop},
		}},
		{"Not only people", []step{
			{"adam", "makes a service for CI and an agent, and trusts what their platform signs", "allow administrator.run", (*story).trusts},
			{"ci", "shows what its platform signed; a job has no secret, and gets a token of minutes", "issued", (*story).jobToken},
			{"ci", "pulls jetty's weights with the service's right", "allow developer.weights", (*story).jobPulls},
			{"ci", "shows what the platform signed for another repository", "refused invalid_grant", (*story).otherRepository},
			{"ana", "lets an agent call harbour and pull jetty for her, for ten minutes", "allow everybody.self", (*story).delegates},
			{"helper", "calls harbour for ana: she may, it may, and it is the task", "allow agents.know-and-use developer.work", (*story).agentCalls},
			{"helper", "calls jetty for ana, which is not the task", "deny token.scope", (*story).agentBeyondTask},
			{"helper", "pulls jetty for ana: she may, and it may not", "deny actor:agent:helper agents.never-take-release-govern", (*story).agentPulls},
		}},
		{"Gone at once", []step{
			{"okta", "which keeps acme's people, adds lea by SCIM", "created", (*story).provisions},
			{"+lea", "enrols, adds a passkey, and is granted harbour for an hour", "granted", (*story).leaJoins},
			{"okta", "sets lea inactive, while she downloads", "cut principal.suspended", (*story).leaLeaves},
			{"tess", "finds a sign-in that was not her, and reports it", "ended", (*story).wasntMe},
		}},
	}
}

// evidence is what remains to be asked of the record.
func (s *story) evidence() []chapter {
	return []chapter{
		{"What happened, and who may do what", []step{
			{"ana", "asks why she was denied", "allow everybody.self", (*story).whyOwn},
			{"nora", "asks about ana's decision", "not-found", (*story).whyOthers},
			{"alba", "asks why, and has the decision made again", "allow everybody.self", (*story).whyAuditor},
			{"rita", "asks whether ana can pull harbour", "allow everybody.self", (*story).can},
			{"rita", "prints the access matrix", "allow reviewer.approve", (*story).matrix},
			{"alba", "checks a receipt with nothing but the log's public key", "verified", (*story).receipt},
			{"anybody", "verifies the log's files offline, against the key and an early checkpoint", "verified", (*story).verifies},
			{"anybody", "makes every decision of this run again from the log's files alone", "identical", (*story).replays},
			{"anybody", "flips one byte in a copy of the log", "found", (*story).flips},
			{"thief", "copies the data directory and looks for the weights and the card", "nothing", (*story).plunders},
			{"adam", "restarts the server: sessions, grants, models and log are there", "allow developer.work", (*story).restarts},
		}},
	}
}

// tell plays the chapters. Steps that go wrong are told and do not end it.
func (s *story) tell(ctx context.Context) error {
	transport, err := people.Trusting(s.server.CA())
	if err != nil {
		return err
	}
	s.wire = &http.Client{Transport: transport, Timeout: 5 * time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, c := range s.chapters() {
		s.out.chapter(c.title)
		for _, one := range c.steps {
			if err := ctx.Err(); err != nil {
				return err
			}
			s.play(ctx, c.title, one)
		}
	}
	return nil
}

// play plays one step.
func (s *story) play(ctx context.Context, title string, one step) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	began := time.Now()
	p, err := s.acting(one)
	var got seen
	if err == nil {
		got, err = one.do(s, ctx, p)
	}
	l := line{Chapter: title, Who: strings.TrimPrefix(one.who, "+"), What: one.what, Want: one.want, Action: got.action, Resource: got.resource,
		Outcome: got.outcome, Reason: got.reason, Decision: got.decision, Note: got.note, Millis: time.Since(began).Milliseconds()}
	l.OK = err == nil && (one.want == got.outcome || one.want == got.outcome+" "+got.reason)
	if err != nil {
		l.Outcome, l.Problem = "error", err.Error()
	}
	s.out.step(l)
}

// acting returns who acts in a step: nobody of the cast where they are outside it, or come with this step.
func (s *story) acting(one step) (*people.Person, error) {
	if strings.HasPrefix(one.who, "+") || slices.Contains([]string{"anybody", "everybody", "thief", "ci", "helper", "okta"}, one.who) {
		return nil, nil
	}
	return s.who(one.who)
}

// who returns somebody of the cast.
func (s *story) who(name string) (*people.Person, error) {
	if p := s.cast[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%s did not get as far as this", name)
}

// decided tells a decision as the auditor reads it in the log.
func (s *story) decided(ctx context.Context, id, note string) (seen, error) {
	alba, err := s.who("alba")
	if err != nil {
		return seen{}, err
	}
	if id == "" {
		return seen{}, errors.New("the answer names no decision")
	}
	w, err := alba.Client.Why(ctx, id)
	if err != nil {
		return seen{}, fmt.Errorf("decision %s: %w", id, err)
	}
	l, err := sallyport.DecodeLogged(w.Decided.Leaf)
	if err != nil {
		return seen{}, err
	}
	if w.Replay != nil && !w.Replay.Same {
		return seen{}, fmt.Errorf("decision %s made again is %s, and was %s", id, w.Replay.Again, w.Replay.Recorded)
	}
	s.told = max(s.told, l.Seq)
	return seen{action: string(l.Action), resource: l.On, outcome: l.Outcome, reason: strings.Join(l.Reasons, " "), decision: id, note: note, asked: l.Asked}, nil
}

// latest tells the newest decision about what somebody did, which must be newer than what was told.
func (s *story) latest(ctx context.Context, p *people.Person, action sallyport.Action, note string) (seen, error) {
	alba, err := s.who("alba")
	if err != nil {
		return seen{}, err
	}
	found, err := alba.Client.Search(ctx, client.Search{Who: string(p.ID), Action: string(action), Types: []string{string(sallyport.EventDecided)}, Most: 1})
	if err != nil {
		return seen{}, err
	}
	if len(found) == 0 || found[0].Seq <= s.told {
		return seen{}, fmt.Errorf("the log has no decision about %s by %s", action, p.ID)
	}
	return s.decided(ctx, found[0].Decision, note)
}

// answered tells the decision behind an answer of a door.
func (s *story) answered(ctx context.Context, a answer, status int, note string) (seen, error) {
	if a.status != status {
		return seen{}, fmt.Errorf("the door answers %d, not %d: %.200s", a.status, status, a.body)
	}
	return s.decided(ctx, a.header.Get(decisionHeader), note)
}

// refusal returns the answer of the management API or the vault to a call that it must not permit.
func refusal(err error) (api.Error, error) {
	if err == nil {
		return api.Error{}, errors.New("it was permitted")
	}
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return api.Error{}, err
	}
	return e.API, nil
}
