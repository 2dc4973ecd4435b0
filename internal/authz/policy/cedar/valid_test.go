package cedar

import (
	"fmt"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// What is checked against the environments of a policy's own actions is found good or bad as against those of all actions.
func TestValidatorsOfAFewActionsAgree(t *testing.T) {
	s, wide, err := readSchema(Schema)
	if err != nil {
		t.Fatal(err)
	}
	v := newValidators(s, wide)
	actions := []string{"action", `action == Action::"model.pull"`, `action in [Action::"model.infer", Action::"model.pull"]`, `action in Action::"release"`, `action in Action::"possess"`,
		`action == Action::"policy.activate"`, `action in [Action::"dataset.read"]`, `action == Action::"model.fly"`, `action in [Action::"model.pull", Action::"nothing"]`}
	scopes := []string{"principal, %s, resource", "principal is User, %s, resource is Version", "principal in Role::\"operator\", %s, resource is System", "principal is Nobody, %s, resource", "principal, %s, resource in Project::\"acme/risk\""}
	conditions := []string{"true", "resource.class == \"restricted\"", "resource has class && resource.class == \"public\"", "context.assurance > 2", "context.nothing", "principal.name == 1",
		`action == Action::"grant.request"`, `action in Action::"release"`, `resource in Model::"acme/x"`, `principal.person == resource.pushedBy`, `context.device.level >= 2 && context.history.day.bytes < 5`}
	good, bad := 0, 0
	for _, a := range actions {
		for _, scope := range scopes {
			for _, c := range conditions {
				text := fmt.Sprintf("permit (%s) when { %s };", fmt.Sprintf(scope, a), c)
				list, err := cedar.NewPolicyListFromBytes("x", []byte(text))
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				tree := (*ast.Policy)(list[0].AST())
				full, few := v.full.Policy("x", tree), v.of(namedBy(tree.Action)).Policy("x", tree)
				if (full == nil) != (few == nil) {
					t.Errorf("%s: %v, among all actions %v", text, few, full)
				}
				if got := v.check("x", text, tree); (got == nil) != (full == nil) {
					t.Errorf("%s: %v, want %v", text, got, full)
				}
				if full == nil {
					good++
				} else {
					bad++
				}
			}
		}
	}
	if good < 50 || bad < 50 || len(v.few) == 0 {
		t.Errorf("%d good and %d bad policies show little", good, bad)
	}
}
