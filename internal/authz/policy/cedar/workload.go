package cedar

import (
	"fmt"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// A Workload is an organisation of a given size to measure decisions on: a
// quarter of the policies are rights of one user on one model, the others give a
// role to a group on a project, under conditions, and five forbids stand over all.
type Workload struct {
	Source   policy.Source
	Entities []policy.Entity
	Queries  []policy.Query // the questions, each over all Entities
}

// workloadGroups is how many groups and how many projects there are.
const workloadGroups = 100

// NewWorkload makes the same workload for the same numbers, with at least five
// policies and about as many entities as asked for: users in groups three deep
// and models in projects.
func NewWorkload(policies, entities int) Workload {
	people := max(1, (entities-2*workloadGroups)/2)
	w := Workload{Source: policy.Source{Schema: Schema, Policies: map[string]string{"bench.cedar": benchPolicies(policies, people)}}}
	w.Entities = benchEntities(people)
	actions := []sallyport.Action{sallyport.ModelInfer, sallyport.ModelRead, sallyport.ModelPull, sallyport.ModelPush}
	for i := range 2_000 {
		w.Queries = append(w.Queries, policy.Query{
			Principal: policy.UID{Type: "User", ID: fmt.Sprintf("u%d", i*37%people)},
			Action:    policy.UID{Type: "Action", ID: string(actions[i%len(actions)])},
			Resource:  policy.UID{Type: "Model", ID: fmt.Sprintf("bench/m%d", i*53%people)},
			Context: policy.Context{Now: time.Unix(1_800_000_000, 0).UTC(), Assurance: sallyport.MultiFactor, AuthAge: 60,
				Door: "bench", Session: true},
		})
	}
	return w
}

func benchPolicies(n, people int) string {
	var b strings.Builder
	head := func(i int) { fmt.Fprintf(&b, "@id(\"bench-%d\") @owner(\"bench\") @requirement(\"AZ-12\")\n", i) }
	for i := range 5 {
		head(i)
		fmt.Fprintf(&b, "forbid(principal, action in Action::\"possess\", resource) when { context.assurance < 1 && context.authAge > %d };\n", i)
	}
	for i := 5; i < n; i++ {
		head(i)
		if i%4 == 0 {
			fmt.Fprintf(&b, "permit(principal == User::\"u%d\", action in Action::\"possess\", resource == Model::\"bench/m%d\") when { context.granted };\n", i%people, i%people)
			continue
		}
		fmt.Fprintf(&b, "permit(principal in Group::\"bench/g%d\", action in [Action::\"use\", Action::\"model.read\"], resource in Project::\"bench/p%d\")\n"+
			"when { resource.class != \"restricted\" || context.assurance >= 2 && context.session };\n", i%workloadGroups, i/workloadGroups%workloadGroups)
	}
	return b.String()
}

func benchEntities(people int) []policy.Entity {
	org := policy.UID{Type: "Organisation", ID: "bench"}
	list := []policy.Entity{{UID: org}}
	for i := range workloadGroups {
		group := policy.Entity{UID: benchUID("Group", "bench/g%d", i)}
		if i >= 10 {
			group.Parents = []policy.UID{benchUID("Group", "bench/g%d", i/10)}
		}
		list = append(list, group, policy.Entity{UID: benchUID("Project", "bench/p%d", i), Parents: []policy.UID{org}})
	}
	classes := []sallyport.Class{sallyport.Public, sallyport.Internal, sallyport.Restricted}
	for i := range people {
		user := benchUID("User", "u%d", i)
		list = append(list,
			policy.Entity{UID: user,
				Parents: []policy.UID{benchUID("Group", "bench/g%d", i%workloadGroups)},
				Attrs: map[string]policy.Value{
					"name":   {Kind: policy.StringValue, String: user.ID},
					"person": {Kind: policy.EntityValue, Entity: user},
				}},
			policy.Entity{UID: benchUID("Model", "bench/m%d", i),
				Parents: []policy.UID{benchUID("Project", "bench/p%d", i%workloadGroups)},
				Attrs: map[string]policy.Value{
					"class":  {Kind: policy.StringValue, String: string(classes[i%len(classes)])},
					"owners": {Kind: policy.SetValue, Set: []policy.Value{{Kind: policy.EntityValue, Entity: user}}},
				}})
	}
	return list
}

func benchUID(kind, format string, i int) policy.UID {
	return policy.UID{Type: kind, ID: fmt.Sprintf(format, i)}
}
