package admission

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/enforce/guard"
)

// An inquiry is one review on its way.
type inquiry struct {
	cluster Cluster
	env     sallyport.Environment // of the path, "" for what stands in no namespace
	by      guard.Call            // the cluster's own
	request Request
	user    User

	decisions []string // their ids
	refusals  []string // for people
	nothing   bool
}

// A question is one thing to decide about a request.
type question struct {
	action sallyport.Action
	target sallyport.Ref
	at     string // where in the manifest, "" for the whole
}

// told is how many refusals of one review are told at once.
const told = 6

// review decides one request, and writes it down before it is answered.
func (d *Door) review(ctx context.Context, x *inquiry) (Review, error) {
	questions, err := d.prepare(ctx, x)
	if err != nil {
		return Review{}, err
	}
	if len(x.refusals) == 0 {
		for _, q := range questions {
			if err := d.ask(ctx, x, q); err != nil {
				return Review{}, err
			}
		}
	}
	if err := d.note(ctx, x); err != nil {
		return Review{}, err
	}
	return x.answer(), nil
}

// prepare finds out who asks for what. What the structure of the request forbids is refused here, with an id.
func (d *Door) prepare(ctx context.Context, x *inquiry) ([]question, error) {
	u, known := x.cluster.who(x.request.User)
	if !known {
		return nil, d.refuse(ctx, x, "", "the cluster's user "+sallyport.OneLine(x.request.User.Username)+" is nobody here", "have an operator map it under \"admission\" in the configuration")
	}
	x.user = u
	t := taskOf(x.request, u.Controller)
	if t.refuse != "" {
		return nil, d.refuse(ctx, x, "", t.refuse, t.next)
	}
	if classOf(x.request.Resource) == namespace {
		return d.relabelled(ctx, x)
	}
	env, why := x.cluster.environment(x.request, x.env)
	if why != "" {
		return nil, d.refuse(ctx, x, "", why, "label the namespace, which its operators may do")
	}
	x.env = env
	if x.nothing = t.nothing; t.nothing {
		return nil, nil
	}
	questions, err := d.named(ctx, x, t)
	if err != nil {
		return nil, err
	}
	switch {
	case t.also != "":
		questions = append(questions, question{action: t.also, target: x.cluster.endpoints[env]})
	case len(questions) == 0 && u.Controller:
		questions = append(questions, question{action: sallyport.ModelLoad, target: x.cluster.endpoints[env]})
	case len(questions) == 0:
		questions = append(questions, question{action: sallyport.EndpointManage, target: x.cluster.endpoints[env]})
	}
	return questions, nil
}

// named are the questions about what the object names.
func (d *Door) named(ctx context.Context, x *inquiry, t task) ([]question, error) {
	if !t.claims {
		return nil, nil
	}
	list, err := claims(x.request.Object)
	if err != nil {
		return nil, d.refuse(ctx, x, "", sallyport.PublicText(err), "")
	}
	var questions []question
	for _, c := range list {
		r := x.cluster.resolve(c, x.env)
		switch {
		case r.refuse != "":
			if err := d.refuse(ctx, x, c.at, sallyport.OneLine(c.name)+" "+r.refuse, r.next); err != nil {
				return nil, err
			}
		case !r.tool && !slices.ContainsFunc(questions, func(q question) bool { return q.target == r.ref }):
			questions = append(questions, question{action: t.models, target: r.ref, at: c.at})
		}
	}
	return questions, nil
}

// relabelled are the questions about a namespace whose environment is said or changed.
func (d *Door) relabelled(ctx context.Context, x *inquiry) ([]question, error) {
	before, after := text(x.request.Old, "metadata", "labels", x.cluster.Label), text(x.request.Object, "metadata", "labels", x.cluster.Label)
	if x.env != "" {
		return nil, d.refuse(ctx, x, "", "namespaces are asked about at the webhook for what stands in no namespace", "")
	}
	if x.request.Operation != Delete && before == after {
		x.nothing = true
		return nil, nil
	}
	var questions []question
	for _, env := range []string{before, after} {
		if env == "" {
			continue
		}
		endpoint, has := x.cluster.endpoints[sallyport.Environment(env)]
		if !has {
			return nil, d.refuse(ctx, x, "metadata.labels", "no environment of this cluster is called "+sallyport.OneLine(env), "use one that the configuration has an endpoint for")
		}
		questions = append(questions, question{action: sallyport.EndpointManage, target: endpoint, at: "metadata.labels"})
	}
	x.nothing = len(questions) == 0
	return questions, nil
}

// ask has the guard decide one question: whether the cluster may ask it, and what the answer is.
func (d *Door) ask(ctx context.Context, x *inquiry, q question) error {
	by := x.by
	by.Action, by.Target = sallyport.DecisionAsk, q.target
	may, err := d.Guard.Check(ctx, by)
	if err != nil {
		return err
	}
	c := guard.Call{Door: "admission", Action: q.action, Target: q.target, Environment: x.env, To: x.env}
	if may.Permit == nil {
		may.Hidden = true // whether it is there is not the cluster's to tell
		x.deny(may, c, q)
		return nil
	}
	a, err := d.Guard.Ask(ctx, may.Permit, d.principal(x), c)
	if err != nil {
		_ = may.Permit.Done(sallyport.Delivered{Status: http.StatusServiceUnavailable, End: "error"}) // what failed is told
		return err
	}
	if err := may.Permit.Done(sallyport.Delivered{Status: http.StatusOK}); err != nil {
		return err
	}
	if a.Outcome == sallyport.Allow {
		x.decisions = append(x.decisions, a.ID)
		return nil
	}
	x.deny(a, c, q)
	return nil
}

// principal is who the cluster's user is, by the cluster's word. When they proved themselves nobody says.
func (d *Door) principal(x *inquiry) sallyport.Principal {
	id := x.user.Principal
	return sallyport.Principal{ID: id, Person: d.Guard.Facts.Snapshot().Behind(id), Scope: sallyport.Scope{"*"}, Assurance: x.user.level,
		Audience: d.Audience, Client: "cluster:" + x.cluster.Name, Expires: d.Clock().Add(wordLife)}
}

// deny keeps what people are told of a refusal.
func (x *inquiry) deny(a guard.Answer, c guard.Call, q question) {
	x.decisions = append(x.decisions, a.ID)
	say := guard.Sentence(a, c)
	if !a.Hidden && a.Resource.Kind == "" && c.Target.Kind == sallyport.ModelKind { // the version is not one of this environment
		say = fmt.Sprintf("Sallyport %s: %s on %s: %s. It must stand in %s and not be retired ('sallyport show %s/%s' lists the versions).",
			a.ID, c.Action, c.Target, a.Outcome, x.env, c.Target.Org, c.Target.Name)
	}
	if q.at != "" {
		say = q.at + ": " + say
	}
	x.refusals = append(x.refusals, say)
}

// refuse records what the structure of a request forbids, whoever asks, and keeps what people are told.
func (d *Door) refuse(ctx context.Context, x *inquiry, at, why, next string) error {
	id, err := d.Guard.Unmapped(ctx, x.by, string(x.request.Operation), x.request.what()+" "+at+" "+why)
	if err != nil {
		return err
	}
	say := "Sallyport " + id + ": "
	if at != "" {
		say = at + ": " + say
	}
	if say += why + "."; next != "" {
		say += " Next: " + next + "."
	}
	x.decisions = append(x.decisions, id)
	x.refusals = append(x.refusals, say)
	return nil
}

// note writes the review down, with all of its decisions: a dry run as what has no effect.
func (d *Door) note(ctx context.Context, x *inquiry) error {
	q := x.request
	e := sallyport.Event{Type: sallyport.EventAdmission, Who: x.user.Principal, Outcome: sallyport.Allow.String(), Asked: &sallyport.Asked{Door: "admission", IP: x.by.IP},
		Detail: map[string]string{"cluster": x.cluster.Name, "what": q.what(), "uid": sallyport.OneLine(q.UID), "user": sallyport.OneLine(q.User.Username),
			"decisions": strings.Join(x.decisions, " "), "environment": string(x.env)}}
	if len(x.decisions) > 0 {
		e.Decision = x.decisions[0]
	}
	if len(x.refusals) > 0 {
		e.Outcome = sallyport.Deny.String()
	}
	if q.DryRun {
		e.Detail["dryRun"] = "true"
	}
	if x.nothing {
		e.Detail["unchanged"] = "true"
	}
	_, err := d.Guard.Note(ctx, e)
	return err
}

// answer is what the cluster is told.
func (x *inquiry) answer() Review {
	a := Response{UID: x.request.UID, Allowed: len(x.refusals) == 0}
	if len(x.decisions) > 0 {
		a.Annotations = map[string]string{"decisions": strings.Join(x.decisions, " ")}
	}
	if !a.Allowed {
		say := x.refusals
		if more := len(say) - told; more > 0 {
			say = append(slices.Clone(say[:told]), fmt.Sprintf("and %d more", more))
		}
		a.Status = &Status{Code: http.StatusForbidden, Reason: "Forbidden", Message: strings.Join(say, "\n")}
	}
	return Review{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview", Response: a}
}
