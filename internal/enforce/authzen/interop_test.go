package authzen_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"sallyport/internal/enforce/authzen/wire"
)

// todoTable is what each of the people may do: with the user list, the list of todos, and todos of their own and of
// others. Its 40 single and 3 listed questions are those of the todo scenario of the AuthZEN interoperability events.
const todoTable = `
who     user  user  read  create  update-others  update-own  delete-others  delete-own
rick    yes   yes   yes   yes     yes            yes         yes            yes
morty   yes   yes   yes   yes     no             yes         no             yes
summer  yes   yes   yes   yes     no             yes         no             yes
beth    yes   yes   yes   no      no             no          no             no
jerry   yes   yes   yes   no      no             no          no             no
`

// A todoCase is one question of the table.
type todoCase struct {
	name string
	body wire.Request
	want bool
}

func todoCases(t *testing.T) []todoCase {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(todoTable), "\n")[1:]
	var all []todoCase
	for i, c := range citizens() {
		cells := strings.Fields(lines[i])
		if cells[0] != c.name || len(cells) != 9 {
			t.Fatalf("row %d is %q", i, lines[i])
		}
		other := "rick@the-citadel.com"
		if c.name == "rick" {
			other = "morty@the-citadel.com"
		}
		list := wire.Entity{Type: "todo", ID: "todo-1"}
		of := func(owner string) wire.Entity {
			return wire.Entity{Type: "todo", ID: "7240d0db-8ff0-41ec-98b2-34a096273b9", Properties: map[string]any{"ownerID": owner}}
		}
		for k, q := range []struct {
			action string
			on     wire.Entity
		}{
			{"can_read_user", wire.Entity{Type: "user", ID: "beth@the-smiths.com"}}, {"can_read_user", wire.Entity{Type: "user", ID: c.mail}},
			{"can_read_todos", list}, {"can_create_todo", list},
			{"can_update_todo", of(other)}, {"can_update_todo", of(c.mail)}, {"can_delete_todo", of(other)}, {"can_delete_todo", of(c.mail)},
		} {
			all = append(all, todoCase{fmt.Sprintf("%s %s %d", c.name, q.action, k), wire.Request{Subject: &wire.Entity{Type: "user", ID: c.pid},
				Action: &wire.Action{Name: q.action}, Resource: &q.on}, cells[k+1] == "yes"})
		}
	}
	return all
}

// TestT2Todo asks the todo scenario's questions.
func TestT2Todo(t *testing.T) {
	s := todo(t)
	cases := todoCases(t)
	if len(cases) != 40 {
		t.Fatalf("%d cases", len(cases))
	}
	by := map[string]bool{}
	for _, c := range cases {
		if d := s.decide(c.body); d.Decision != c.want {
			t.Errorf("%s: %v, want %v", c.name, d.Decision, c.want)
		}
		by[c.name] = c.want
	}
	for _, i := range []int{0, 1, 4} {
		c := citizens()[i]
		var batch wire.Batch
		batch.Subject, batch.Action = &wire.Entity{Type: "user", ID: c.pid}, &wire.Action{Name: "can_update_todo"}
		var want []bool
		for k, q := range cases[i*8+4 : i*8+6] {
			batch.Evaluations = append(batch.Evaluations, wire.Request{Resource: q.body.Resource})
			want = append(want, cases[i*8+4+k].want)
		}
		var got wire.Decisions
		s.ask(wire.EvaluationsPath, batch, &got)
		if len(got.Evaluations) != 2 || got.Evaluations[0].Decision != want[0] || got.Evaluations[1].Decision != want[1] {
			t.Errorf("%s: %+v, want %v", c.name, got, want)
		}
	}
}

// TestT2OfficialDecisions asks the questions of the working group's own file: a clone's
// interop/authzen-todo-backend/test/decisions-authorization-api-1_0-02.json.
func TestT2OfficialDecisions(t *testing.T) {
	name := os.Getenv("SALLYPORT_AUTHZEN_INTEROP")
	if name == "" {
		t.Skip("SALLYPORT_AUTHZEN_INTEROP names no file of decisions; TestT2Todo asks the same questions")
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Evaluation []struct {
			Request  json.RawMessage
			Expected bool
		}
		Evaluations []struct {
			Request  json.RawMessage
			Expected []struct{ Decision bool }
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	s := todo(t)
	for i, x := range file.Evaluation {
		if d := s.decide(string(x.Request)); d.Decision != x.Expected {
			t.Errorf("evaluation %d %s: %v", i, x.Request, d.Decision)
		}
	}
	for i, x := range file.Evaluations {
		var got wire.Decisions
		s.ask(wire.EvaluationsPath, string(x.Request), &got)
		for k, want := range x.Expected {
			if len(got.Evaluations) != len(x.Expected) || got.Evaluations[k].Decision != want.Decision {
				t.Errorf("evaluations %d.%d: %+v", i, k, got)
			}
		}
	}
	if len(file.Evaluation) < 40 || len(file.Evaluations) < 3 {
		t.Errorf("the file has %d and %d", len(file.Evaluation), len(file.Evaluations))
	}
	t.Logf("%d evaluations, %d lists", len(file.Evaluation), len(file.Evaluations))
}
