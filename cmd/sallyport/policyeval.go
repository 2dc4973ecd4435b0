package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/web/api"
)

func (a *app) policyEval() *cobra.Command {
	var entities, request string
	c := &cobra.Command{
		Use: "eval DIR", Short: "Decide one request by a policy set, from files, without a server", Args: arguments("DIR"),
		Long: `Decide by the policies of a directory, over entities and a request from files. Nothing is asked of a server.
Entities are in Cedar's JSON form. A request is

  {"principal": {"type": "User", "id": "ana"}, "action": "model.pull",
   "resource": {"type": "Version", "id": "acme/fraud@v3"},
   "assurance": "aal2", "authAge": "5m", "door": "hfhub", "file": "model.safetensors",
   "ip": "192.0.2.7", "scope": "*", "granted": false}

of which only principal, action and resource are needed. The exit code is the outcome's.`,
		Example: "  sallyport policy eval examples/acme/policies --entities entities.json --request request.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if entities == "" || request == "" {
				return usage(cmd, "name the files, with --entities and --request")
			}
			src, err := readSet(args[0])
			if err != nil {
				return err
			}
			e, err := engines.Compile(src)
			if err != nil {
				return err
			}
			var q evalRequest
			if err := readJSON(request, &q); err != nil {
				return err
			}
			var all []cedarEntity
			if err := readJSON(entities, &all); err != nil {
				return err
			}
			x, err := a.evaluate(e, q, all)
			if err != nil {
				return err
			}
			return a.verdict(x)
		},
	}
	c.Flags().StringVar(&entities, "entities", "", "`FILE` with the entities")
	c.Flags().StringVar(&request, "request", "", "`FILE` with the request")
	return c
}

func readJSON(name string, v any) error {
	text, err := readText(name)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return sallyport.E("read file", sallyport.Invalid, name+": "+err.Error(), "see 'sallyport policy eval --help'")
	}
	return nil
}

// An evalRequest is the file of one question.
type evalRequest struct {
	Principal policy.UID       `json:"principal"`
	Action    sallyport.Action `json:"action"`
	Resource  policy.UID       `json:"resource"`
	At        time.Time        `json:"at"` // zero: now
	Assurance string           `json:"assurance"`
	AuthAge   string           `json:"authAge"`
	Door      string           `json:"door"`
	File      string           `json:"file"`
	IP        string           `json:"ip"`
	Scope     string           `json:"scope"` // "" = everything
	Session   string           `json:"session"`
	Granted   bool             `json:"granted"`
	Bound     bool             `json:"bound"`
	Client    string           `json:"client"`
	Purpose   string           `json:"purpose"`
	Network   string           `json:"network"`
	Risk      int              `json:"risk"`
	Trained   time.Time        `json:"trained"` // when the person was last trained; zero: never
	To        string           `json:"to"`      // of a promotion or deployment; "" = the next environment, or its own
	Device    *evalDevice      `json:"device"`
}

// An evalDevice is the device of a question.
type evalDevice struct {
	Class     string `json:"class"`      // "standard" or "admin"
	Level     int    `json:"level"`      // 1 to 3
	Posture   string `json:"postureAge"` // a duration; "" = it never reported
	OS        string `json:"os"`
	Encrypted bool   `json:"encrypted"`
	Locked    bool   `json:"locked"`
	Patched   bool   `json:"patched"`
}

func (d *evalDevice) device() (decision.Device, error) {
	if d == nil {
		return decision.Device{}, nil
	}
	x := decision.Device{ID: "DV-file", Class: d.Class, Level: d.Level, Posture: -time.Second, OS: d.OS, Encrypted: d.Encrypted, Locked: d.Locked, Patched: d.Patched}
	if d.Posture == "" {
		return x, nil
	}
	var err error
	if x.Posture, err = time.ParseDuration(d.Posture); err != nil || x.Posture < 0 {
		return x, sallyport.E("read request", sallyport.Invalid, "the device's postureAge is not a duration", "write it like 2h")
	}
	return x, nil
}

// evaluate decides the way a guard does, on facts from the files.
func (a *app) evaluate(e policy.Engine, q evalRequest, all []cedarEntity) (api.Answer, error) {
	asked, err := q.question(a.now())
	if err != nil {
		return api.Answer{}, err
	}
	list, err := entitiesOf(all)
	if err != nil {
		return api.Answer{}, err
	}
	who, err := sallyport.NewPrincipalID(sallyport.PrincipalKind(strings.ToLower(q.Principal.Type)), q.Principal.ID)
	if err != nil {
		return api.Answer{}, err
	}
	resource, err := resourceOf(q.Resource, list)
	if err != nil {
		return api.Answer{}, err
	}
	b := decision.Basis{Principal: q.Principal, PrincipalID: who, Person: who, Active: true, Resource: resource, ResourceUID: q.Resource, Entities: list}
	if q.Granted {
		b.Grants = []decision.Grant{{ID: "G-file", Actions: []sallyport.Action{q.Action}, From: asked.At.Add(-time.Hour), Until: asked.At.Add(time.Hour)}}
	}
	p, err := decision.Prepare(e, &b)
	if err != nil {
		return api.Answer{}, err
	}
	if asked.To == "" {
		asked.To = resource.Toward(q.Action)
	}
	d := decision.Decide(e, decision.Facts{Basis: p, Question: asked})
	x := api.Answer{Who: who, Action: q.Action, Resource: resource.String(), Outcome: d.Outcome.String(), Reasons: d.Reasons, Remedies: d.Remedies, Policy: d.Policy}
	if d.Outcome == sallyport.StepUp {
		x.Needs = d.Needs.String()
	}
	return x, nil
}

func (q evalRequest) question(now time.Time) (decision.Question, error) {
	at := q.At
	if at.IsZero() {
		at = now
	}
	d := decision.Question{Action: q.Action, At: at.UTC(), Door: q.Door, IP: q.IP, File: q.File, Session: q.Session, Assurance: sallyport.SingleFactor, AuthTime: at.UTC(), Scope: sallyport.Scope{"*"},
		Bound: q.Bound, Client: q.Client, Purpose: q.Purpose, Network: q.Network, Risk: q.Risk, Trained: q.Trained.UTC().Truncate(time.Second), To: sallyport.Environment(q.To)}
	var err error
	if d.Device, err = q.Device.device(); err != nil {
		return d, err
	}
	if q.Assurance != "" {
		if d.Assurance, err = sallyport.ParseAssurance(q.Assurance); err != nil {
			return d, err
		}
	}
	if q.AuthAge != "" {
		age, err := time.ParseDuration(q.AuthAge)
		if err != nil || age < 0 {
			return d, sallyport.E("read request", sallyport.Invalid, "authAge is not a duration", "write it like 5m")
		}
		d.AuthTime = d.At.Add(-age)
	}
	if q.Scope != "" {
		d.Scope, err = sallyport.ParseScope(q.Scope)
	}
	return d, err
}

// A cedarEntity is an entity in Cedar's JSON form.
type cedarEntity struct {
	UID     policy.UID     `json:"uid"`
	Attrs   map[string]any `json:"attrs"`
	Parents []policy.UID   `json:"parents"`
	Tags    map[string]any `json:"tags"` // read, so that it can be refused
}

func entitiesOf(all []cedarEntity) ([]policy.Entity, error) {
	var list []policy.Entity
	for _, e := range all {
		out := policy.Entity{UID: e.UID, Parents: e.Parents}
		if len(e.Tags) > 0 {
			return nil, badValue(e.UID.String(), "tags")
		}
		for name, v := range e.Attrs {
			x, err := valueOf(e.UID.String()+"."+name, v)
			if err != nil {
				return nil, err
			}
			if out.Attrs == nil {
				out.Attrs = map[string]policy.Value{}
			}
			out.Attrs[name] = x
		}
		list = append(list, out)
	}
	return list, nil
}

// valueOf reads a value: JSON's own kinds, {"__entity": UID} and {"__extn": {"fn": "ip", "arg": TEXT}}.
func valueOf(at string, v any) (policy.Value, error) {
	switch v := v.(type) {
	case bool:
		return policy.Value{Kind: policy.BoolValue, Bool: v}, nil
	case string:
		return policy.Value{Kind: policy.StringValue, String: v}, nil
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		if err != nil {
			return policy.Value{}, badValue(at, v.String())
		}
		return policy.Value{Kind: policy.LongValue, Long: n}, nil
	case []any:
		set := policy.Value{Kind: policy.SetValue}
		for _, item := range v {
			x, err := valueOf(at, item)
			if err != nil {
				return x, err
			}
			set.Set = append(set.Set, x)
		}
		return set, nil
	case map[string]any:
		return recordOf(at, v)
	}
	return policy.Value{}, badValue(at, fmt.Sprint(v))
}

func recordOf(at string, v map[string]any) (policy.Value, error) {
	text := func(from any, name string) string {
		m, _ := from.(map[string]any)
		s, _ := m[name].(string)
		return s
	}
	if e, ok := v["__entity"]; ok {
		uid := policy.UID{Type: text(e, "type"), ID: text(e, "id")}
		if uid.Type == "" || uid.ID == "" || len(v) != 1 {
			return policy.Value{}, badValue(at, "__entity")
		}
		return policy.Value{Kind: policy.EntityValue, Entity: uid}, nil
	}
	if e, ok := v["__extn"]; ok {
		if text(e, "fn") != "ip" || len(v) != 1 {
			return policy.Value{}, badValue(at, "__extn "+text(e, "fn"))
		}
		return policy.Value{Kind: policy.IPValue, String: text(e, "arg")}, nil
	}
	r := policy.Value{Kind: policy.RecordValue, Record: map[string]policy.Value{}}
	for name, item := range v {
		x, err := valueOf(at+"."+name, item)
		if err != nil {
			return x, err
		}
		r.Record[name] = x
	}
	return r, nil
}

func badValue(at, what string) error {
	return sallyport.E("read entities", sallyport.Invalid, fmt.Sprintf("%s: %q is not a value that the schema has", at, sallyport.OneLine(what)),
		"use text, whole numbers, true, false, lists, records, __entity, or __extn with ip")
}

// resourceOf reads the resource out of its entity and what contains it.
func resourceOf(uid policy.UID, all []policy.Entity) (sallyport.Resource, error) {
	kinds := map[string]struct {
		kind   sallyport.ResourceKind
		prefix string
	}{
		"Organisation": {sallyport.OrganisationKind, "org:"}, "Project": {sallyport.ProjectKind, "project:"}, "Model": {sallyport.ModelKind, ""},
		"Version": {sallyport.VersionKind, ""}, "Dataset": {sallyport.DatasetKind, "dataset:"}, "Endpoint": {sallyport.EndpointKind, "endpoint:"},
	}
	if uid.Type == "System" {
		return sallyport.Resource{Kind: sallyport.SystemKind, Class: sallyport.Restricted}, nil
	}
	k, ok := kinds[uid.Type]
	if !ok {
		return sallyport.Resource{}, sallyport.E("read request", sallyport.Invalid, "no resource has the type "+sallyport.OneLine(uid.Type), "use Version, Model, Dataset, Endpoint, Project, Organisation or System")
	}
	ref, err := sallyport.ParseRef(k.prefix + uid.ID)
	if err != nil {
		return sallyport.Resource{}, err
	}
	x := sallyport.Resource{Kind: k.kind, Org: ref.Org, Name: ref.Name, Version: ref.Revision, Class: sallyport.Restricted}
	for at, steps := []policy.UID{uid}, 0; len(at) > 0 && steps < 100; steps++ {
		e := find(all, at[0])
		at = append(at[1:], e.Parents...)
		if e.UID == uid {
			if x.Class, err = sallyport.ParseClass(e.Attrs["class"].String); err != nil {
				return x, err
			}
		}
		switch {
		case e.UID.Type == "Project" && x.Project == "":
			_, x.Project, _ = strings.Cut(e.UID.ID, "/")
		case e.UID.Type == "Environment" && x.Environment == "":
			x.Environment = sallyport.Environment(e.UID.ID)
		}
	}
	return x, nil
}

func find(all []policy.Entity, uid policy.UID) policy.Entity {
	for _, e := range all {
		if e.UID == uid {
			return e
		}
	}
	return policy.Entity{}
}
