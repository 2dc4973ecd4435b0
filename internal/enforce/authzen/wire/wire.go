// Package wire owns the messages of the OpenID AuthZEN Authorization API 1.0 as JSON: what a policy enforcement point
// (PEP) asks, and what a policy decision point (PDP) answers (sections 5 to 10, and the draft Obligations Profile 1.0).
//
// A message has one reading: doubled members, invalid UTF-8 and anything behind the value are errors, as is a member of
// another type than the standard gives it. Members that the standard does not know are passed over, as it asks.
//
// It leaves what the words in them mean to enforce/authzen/dictionary, and HTTP to the door and to enforce/authzen/remote.
package wire

import (
	"fmt"
	"unicode/utf8"

	strict "github.com/go-json-experiment/json"

	"sallyport"
)

// Limits on what is read.
const (
	MaxBody        = 256 << 10 // bytes of a message
	MaxEvaluations = 100       // of one request
	MaxPage        = 100       // results of one page
	maxText        = 1024      // bytes of a type, an id, a name, a token
	maxProperties  = 64        // members of properties or of a context
)

// The default paths of the endpoints (section 10.1).
const (
	EvaluationPath  = "/access/v1/evaluation"
	EvaluationsPath = "/access/v1/evaluations"
	SubjectsPath    = "/access/v1/search/subject"
	ResourcesPath   = "/access/v1/search/resource"
	ActionsPath     = "/access/v1/search/action"
	MetadataPath    = "/.well-known/authzen-configuration"
)

// An Entity is a subject or a resource.
type Entity struct {
	Type       string         `json:"type"`
	ID         string         `json:"id,omitempty"`
	Properties map[string]any `json:"properties,omitempty"`
}

// An Action is what the subject wants to do.
type Action struct {
	Name       string         `json:"name"`
	Properties map[string]any `json:"properties,omitempty"`
}

// A Request is one question. What is missing is nil.
type Request struct {
	Subject  *Entity        `json:"subject,omitempty"`
	Action   *Action        `json:"action,omitempty"`
	Resource *Entity        `json:"resource,omitempty"`
	Context  map[string]any `json:"context,omitempty"`
}

// A Semantic says when a list of questions is answered enough (section 7.1.2.1).
type Semantic string

// The semantics.
const (
	ExecuteAll          Semantic = "execute_all"
	DenyOnFirstDeny     Semantic = "deny_on_first_deny"
	PermitOnFirstPermit Semantic = "permit_on_first_permit"
)

// Ends reports whether a list is answered with a decision.
func (s Semantic) Ends(decision bool) bool {
	return s == DenyOnFirstDeny && !decision || s == PermitOnFirstPermit && decision
}

// A Batch is a list of questions; what its items leave out stands once, in the Request.
type Batch struct {
	Request
	Evaluations []Request `json:"evaluations,omitempty"`
	Options     Options   `json:"options,omitzero"`
}

// Options say how a list is gone through.
type Options struct {
	Semantic Semantic `json:"evaluations_semantic,omitempty"`
}

// Items are the questions of the list, each with what it left out: a whole member each (section 7.1.1).
func (b *Batch) Items() []Request {
	items := make([]Request, len(b.Evaluations))
	for i, x := range b.Evaluations {
		if x.Subject == nil {
			x.Subject = b.Subject
		}
		if x.Action == nil {
			x.Action = b.Action
		}
		if x.Resource == nil {
			x.Resource = b.Resource
		}
		if x.Context == nil {
			x.Context = b.Context
		}
		items[i] = x
	}
	return items
}

// A Search is a question with a hole: who, what, or on what.
type Search struct {
	Request
	Page *Page `json:"page,omitempty"`
}

// A Page says which part of the results is wanted.
type Page struct {
	Token string `json:"token,omitempty"`
	Limit *int   `json:"limit,omitempty"` // nil = as many as the PDP gives
}

// A Decision is the answer to one question.
type Decision struct {
	Decision bool     `json:"decision"`
	Context  *Context `json:"context,omitempty"`
}

// A Context is what a decision says of itself.
type Context struct {
	ID          string            `json:"id,omitempty"`          // of the decision, "D-…"
	Outcome     string            `json:"outcome,omitempty"`     // "deny", "step-up" or "hold"
	Reason      map[string]string `json:"reason_user,omitempty"` // by the HTTP status that it is like
	ACR         string            `json:"acr_values,omitempty"`  // what the subject must prove first
	Remedies    []Remedy          `json:"remedies,omitempty"`
	Obligations []Obligation      `json:"obligations,omitempty"`
	Error       *Problem          `json:"error,omitempty"`
}

// A Remedy is what would help the subject.
type Remedy struct {
	Kind    string `json:"kind"`
	Command string `json:"command,omitempty"`
	Text    string `json:"text"`
}

// An Obligation is what the PEP must do to make use of the decision; one that cannot must deny.
type Obligation struct {
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Properties map[string]string `json:"properties"`
}

// A Problem says why a question in a list could not be asked.
type Problem struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

// Decisions are the answers to a list, in its order.
type Decisions struct {
	Evaluations []Decision `json:"evaluations"`
}

// Results are the answer to a search: entities, or actions.
type Results[T Entity | Action] struct {
	Page    Next `json:"page"`
	Results []T  `json:"results"`
}

// A Next says where the results go on; an empty token is their end.
type Next struct {
	Token string `json:"next_token"`
	Count int    `json:"count"`
}

// Metadata is what a PDP says of itself (section 9).
type Metadata struct {
	PDP         string   `json:"policy_decision_point"`
	Evaluation  string   `json:"access_evaluation_endpoint"`
	Evaluations string   `json:"access_evaluations_endpoint,omitempty"`
	Subjects    string   `json:"search_subject_endpoint,omitempty"`
	Resources   string   `json:"search_resource_endpoint,omitempty"`
	Actions     string   `json:"search_action_endpoint,omitempty"`
	Obligations []string `json:"supported_obligations,omitempty"`
}

// Parse reads a message into v and checks its limits; every error is of kind Invalid or TooLarge.
func Parse(raw []byte, v interface{ check() error }) error {
	const op = "read request"
	if len(raw) > MaxBody {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("the body is over %d bytes", MaxBody), "ask less at once")
	}
	if len(raw) == 0 || raw[0] == 'n' {
		return sallyport.E(op, sallyport.Invalid, "the body is no JSON object", "")
	}
	if err := strict.Unmarshal(raw, v); err != nil {
		return sallyport.E(op, sallyport.Invalid, "the body is not what this endpoint takes: "+sallyport.OneLine(err.Error()), "see the AuthZEN Authorization API 1.0")
	}
	return v.check()
}

// Whole refuses a question that leaves out what every question has (section 6.1).
func (r *Request) Whole() error {
	switch {
	case r.Subject == nil || r.Subject.Type == "" || r.Subject.ID == "":
		return missing("subject", "type and id")
	case r.Action == nil || r.Action.Name == "":
		return missing("action", "name")
	case r.Resource == nil || r.Resource.Type == "" || r.Resource.ID == "":
		return missing("resource", "type and id")
	}
	return nil
}

// The holes of a search.
const (
	Subjects  = "subject"
	Resources = "resource"
	Actions   = "action"
)

// Whole refuses a search for hole that leaves out what it must have (section 8); an id of what is searched for is passed over.
func (s *Search) Whole(hole string) error {
	r := s.Request
	if hole == Actions {
		r.Action = &Action{Name: "-"}
	}
	if e := r.Subject; hole == Subjects && e != nil {
		r.Subject = &Entity{Type: e.Type, ID: "-"}
	}
	if e := r.Resource; hole == Resources && e != nil {
		r.Resource = &Entity{Type: e.Type, ID: "-"}
	}
	return r.Whole()
}

func missing(what, has string) error {
	return sallyport.E("read request", sallyport.Invalid, "the "+what+" is missing, or has no "+has, "see the AuthZEN Authorization API 1.0")
}

func (r *Request) check() error {
	ok := r.Subject.within() && r.Resource.within() && len(r.Context) <= maxProperties &&
		(r.Action == nil || within(r.Action.Name) && len(r.Action.Properties) <= maxProperties)
	if !ok {
		return sallyport.E("read request", sallyport.TooLarge, fmt.Sprintf("a text is over %d bytes, or an object over %d members", maxText, maxProperties), "")
	}
	return nil
}

func (b *Batch) check() error {
	if len(b.Evaluations) > MaxEvaluations {
		return sallyport.E("read request", sallyport.TooLarge, fmt.Sprintf("more than %d evaluations", MaxEvaluations), "ask less at once")
	}
	switch b.Options.Semantic {
	case "", ExecuteAll, DenyOnFirstDeny, PermitOnFirstPermit:
	default:
		return sallyport.E("read request", sallyport.Invalid, "the evaluations_semantic is not understood", "use execute_all, deny_on_first_deny or permit_on_first_permit")
	}
	for i := range b.Evaluations {
		if err := b.Evaluations[i].check(); err != nil {
			return err
		}
	}
	return b.Request.check()
}

func (s *Search) check() error {
	if p := s.Page; p != nil && (!within(p.Token) || p.Limit != nil && *p.Limit < 0) {
		return sallyport.E("read request", sallyport.Invalid, "the page is not one", "send the token of the answer before, and a limit that is not negative")
	}
	return s.Request.check()
}

func (e *Entity) within() bool {
	return e == nil || within(e.Type) && within(e.ID) && len(e.Properties) <= maxProperties
}

func within(s string) bool { return len(s) <= maxText && utf8.ValidString(s) }
