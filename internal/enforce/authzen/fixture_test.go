package authzen_test

import (
	"testing"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/enforce/authzen"
	"sallyport/internal/enforce/authzen/dictionary"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/identity/directory"
)

// pointPolicy lets the point of the fixtures ask.
const pointPolicy = `
@id("points.ask") @owner("test") @requirement("T") @text("Points ask.")
permit (principal is Service in Role::"enforcement-point", action == Action::"decision.ask", resource);
@id("everybody.system") @owner("test") @requirement("T") @text("Everybody may list.")
permit (principal, action == Action::"model.list", resource is System);
`

// todoPolicies are the rules of the todo application of the interoperability scenario: the list is a dataset, what
// somebody owns another, and what somebody else owns a third.
const todoPolicies = pointPolicy + `
@id("viewer") @owner("test") @requirement("T") @text("Viewers look.")
permit (principal in Role::"viewer", action in [Action::"identity.read", Action::"dataset.read"], resource);
@id("editor.create") @owner("test") @requirement("T") @text("Editors create.")
permit (principal in Role::"editor", action == Action::"dataset.write", resource == Dataset::"citadel/list");
@id("editor.own") @owner("test") @requirement("T") @text("Editors change and remove what they own.")
permit (principal in Role::"editor", action in [Action::"dataset.write", Action::"dataset.delete"], resource == Dataset::"citadel/own");
@id("admin.delete") @owner("test") @requirement("T") @text("Admins remove anything.")
permit (principal in Role::"admin", action == Action::"dataset.delete", resource);
@id("genius.update") @owner("test") @requirement("T") @text("Evil geniuses change anything.")
permit (principal in Role::"evil-genius", action == Action::"dataset.write", resource);
`

// The people of the todo scenario: the id that the application sends, the address by which todos name their owner.
type citizen struct {
	name, pid, mail string
	roles           []string
}

func citizens() []citizen {
	return []citizen{
		{"rick", "CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "rick@the-citadel.com", []string{"viewer", "editor", "admin", "evil-genius"}},
		{"morty", "CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "morty@the-citadel.com", []string{"viewer", "editor"}},
		{"summer", "CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "summer@the-smiths.com", []string{"viewer", "editor"}},
		{"beth", "CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "beth@the-smiths.com", []string{"viewer"}},
		{"jerry", "CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "jerry@the-smiths.com", []string{"viewer"}},
	}
}

// todo is the todo application's point.
func todo(t *testing.T) *site {
	w := guardtest.New(t)
	d := &dictionary.Dictionary{
		Actions: []dictionary.Rule{
			{ID: []string{"can_read_user"}, Is: "identity.read"}, {ID: []string{"can_read_todos"}, Is: "dataset.read"},
			{ID: []string{"can_create_todo", "can_update_todo"}, Is: "dataset.write"}, {ID: []string{"can_delete_todo"}, Is: "dataset.delete"},
		},
		Resources: []dictionary.Rule{
			{Type: "user", Is: "org:citadel"},
			{Type: "todo", When: map[string]any{"ownerID": "$subject"}, Is: "dataset:citadel/own"},
			{Type: "todo", When: map[string]any{"ownerID": "$any"}, Is: "dataset:citadel/others"},
			{Type: "todo", Is: "dataset:citadel/list"},
		},
	}
	people := directory.Dump{}
	for _, c := range citizens() {
		id := sallyport.PrincipalID("user:" + c.name)
		people.Members = append(people.Members, directory.Member{ID: id, Person: id, Org: "citadel", State: directory.Active})
		d.Subjects = append(d.Subjects, dictionary.Rule{Type: "user", ID: []string{c.pid, c.mail}, Is: string(id)})
	}
	catalogue := catalog.Dump{Orgs: []catalog.Org{{Name: "citadel"}}}
	for _, name := range []string{"list", "own", "others"} {
		catalogue.Datasets = append(catalogue.Datasets, catalog.Dataset{Org: "citadel", Name: name, Class: sallyport.Internal})
	}
	s := fixture(t, w, people, catalogue, todoPolicies, d)
	for _, c := range citizens() {
		for _, r := range c.roles {
			w.Assign("user:"+c.name, r, sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "citadel"})
		}
	}
	return s
}

// fixture makes a world of an organisation's own with one point that is believed.
func fixture(t *testing.T, w *guardtest.World, people directory.Dump, things catalog.Dump, policies string, d *dictionary.Dictionary) *site {
	t.Helper()
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	engine, err := guardtest.Compile(policies)
	if err != nil {
		t.Fatal(err)
	}
	org := things.Orgs[0].Name
	people.Members = append(people.Members, directory.Member{ID: "service:pep", Person: people.Members[0].ID, Org: org, State: directory.Active})
	w.Become(guardtest.Organisation{People: people, Catalog: things, Engine: engine})
	w.Assign("service:pep", "enforcement-point", sallyport.Ref{Kind: sallyport.OrganisationKind, Org: org})
	return open(t, w, authzen.Point{Principal: "service:pep", Believed: true, Words: d})
}

// recordPolicies are the fixture of the certification scenario: records are datasets, an archive holds what is archived.
const recordPolicies = pointPolicy + `
@id("everybody.read") @owner("test") @requirement("T") @text("People read records.")
permit (principal in Role::"clerk", action == Action::"dataset.read", resource);
@id("writer.write") @owner("test") @requirement("T") @text("Writers write what is active, and remove it softly.")
permit (principal in Role::"writer", action == Action::"dataset.write", resource)
when { resource != Dataset::"records/archive" };
@id("admin.archive") @owner("test") @requirement("T") @text("Admins write what is archived.")
permit (principal in Role::"archivist", action == Action::"dataset.write", resource == Dataset::"records/archive");
`

// records is the point of the certification scenario. A soft delete is a write: the record stays.
func records(t *testing.T) *site {
	d := &dictionary.Dictionary{
		Subjects: []dictionary.Rule{
			{Type: "user", When: map[string]any{"role": "admin"}, Is: "user:admin"},
			{Type: "user", ID: []string{"alice"}, Is: "user:alice"}, {Type: "user", ID: []string{"bob"}, Is: "user:bob"},
		},
		Actions: []dictionary.Rule{
			{ID: []string{"read"}, Is: "dataset.read"}, {ID: []string{"write"}, Is: "dataset.write"},
			{ID: []string{"delete"}, When: map[string]any{"soft": true}, Is: "dataset.write"}, {ID: []string{"delete"}, Is: "dataset.delete"},
		},
		Resources: []dictionary.Rule{
			{Type: "record", When: map[string]any{"status": "archived"}, Is: "dataset:records/archive"},
			{Type: "record", ID: []string{"record-1"}, Is: "dataset:records/record-1"},
			{Type: "record", ID: []string{"record-2"}, Is: "dataset:records/archive"},
		},
	}
	people := directory.Dump{}
	for _, name := range []string{"alice", "bob", "admin"} {
		id := sallyport.PrincipalID("user:" + name)
		people.Members = append(people.Members, directory.Member{ID: id, Person: id, Org: "records", State: directory.Active})
	}
	w := guardtest.New(t)
	s := fixture(t, w, people, catalog.Dump{Orgs: []catalog.Org{{Name: "records"}}, Datasets: []catalog.Dataset{
		{Org: "records", Name: "record-1", Class: sallyport.Internal}, {Org: "records", Name: "archive", Class: sallyport.Internal}}}, recordPolicies, d)
	for subject, roles := range map[string][]string{"user:alice": {"clerk", "writer"}, "user:bob": {"clerk", "archivist"}, "user:admin": {"clerk", "archivist"}} {
		for _, r := range roles {
			w.Assign(subject, r, sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "records"})
		}
	}
	return s
}
