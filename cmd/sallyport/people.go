package main

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) user() *cobra.Command {
	return noun(&cobra.Command{Use: "user", Short: "People and services: add, list, suspend, enrol"},
		a.userAdd(), a.userList(), a.userHistory(), a.userEnrol(), a.userTrained(),
		a.userState("suspend", "suspended", "Suspend somebody: their sessions, logins and grants end at once"),
		a.userState("activate", "active", "Let a suspended member act again"),
		a.userState("remove", "removed", "Remove somebody for good; the name is never given again"))
}

func (a *app) userAdd() *cobra.Command {
	m := api.Member{}
	var owner, term string
	var enrol bool
	c := &cobra.Command{
		Use: "add NAME", Short: "Add a person, or with service:NAME a service", Args: arguments("NAME"),
		Example: `  sallyport user add ana --org acme --name "Ana Lima" --group acme/risk-team --enrol
  sallyport user add service:trainer --org acme --owner ana --purpose "trains the fraud model" --for 90d`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if m.ID, err = sallyport.ParsePrincipalID(args[0]); err != nil {
				return err
			}
			if owner != "" {
				if m.Person, err = sallyport.ParsePrincipalID(owner); err != nil {
					return err
				}
			}
			if m.Ends, err = endOf(term, a.now()); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if m, err = c.AddPerson(cmd.Context(), m); err != nil {
				return err
			}
			if enrol {
				return a.enrol(cmd.Context(), c, m.ID)
			}
			return a.answer(m, func() { a.line("%s is added", m.ID) })
		},
	}
	c.Flags().StringVar(&m.Org, "org", "", "the organisation")
	c.Flags().StringVar(&m.Display, "name", "", "the `NAME` that people read")
	c.Flags().StringVar(&owner, "owner", "", "of a service, or a second account: the person who answers for it")
	c.Flags().StringArrayVar(&m.Groups, "group", nil, "a group, `ORG/NAME`; may be repeated")
	c.Flags().StringVar(&m.Purpose, "purpose", "", "of a service: what it is for")
	c.Flags().StringVar(&term, "for", "", "of a service: until when, such as `90d` or 2027-06-30")
	c.Flags().BoolVar(&enrol, "enrol", false, "print a one-time enrolment link, too")
	return c
}

func (a *app) userList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List people and services", Args: arguments(),
		Example: "  sallyport user ls --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{headings: []string{"WHO", "NAME", "STATE", "ORG", "PERSON", "GROUPS"}, none: "There is nobody."}
			return rows(cmd.Context(), a, (*client.Client).People, t, func(m api.Member) []string {
				return []string{string(m.ID), cmp.Or(m.Display, "-"), m.State, cmp.Or(m.Org, "-"), cmp.Or(string(m.Person), "-"), list(m.Groups)}
			})
		},
	}
}

func (a *app) userEnrol() *cobra.Command {
	return &cobra.Command{
		Use: "enrol NAME", Short: "Print a one-time link by which a person sets up their proof", Args: arguments("NAME"),
		Example: "  sallyport user enrol ana",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := sallyport.ParsePrincipalID(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.enrol(cmd.Context(), c, id)
		},
	}
}

func (a *app) enrol(ctx context.Context, c *client.Client, id sallyport.PrincipalID) error {
	e, err := c.Enrol(ctx, id)
	if err != nil {
		return err
	}
	return a.answer(e, func() {
		a.line("%s", e.Link)
		a.note("Give this link to %s, by a way that only they read. It works once, until %s.", clean(string(e.Who)), a.when(e.Expires))
	})
}

func (a *app) userState(verb, state, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Args: arguments("NAME"),
		Example: "  sallyport user " + verb + " lea",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := sallyport.ParsePrincipalID(args[0])
			if err != nil {
				return err
			}
			return do(cmd.Context(), a, with2((*client.Client).SetState, id, state), func(m api.Member) {
				a.line("%s is %s", m.ID, m.State)
			})
		},
	}
}

func (a *app) group() *cobra.Command {
	return noun(&cobra.Command{Use: "group", Short: "Groups: define, join, leave"},
		a.groupDefine(), a.groupMember("join", "Put somebody into a group", false), a.groupMember("leave", "Take somebody out of a group", true))
}

func (a *app) groupDefine() *cobra.Command {
	g := api.Group{}
	c := &cobra.Command{
		Use: "define ORG/NAME", Short: "Make a group, or say what it is part of", Args: arguments("ORG/NAME"),
		Example: "  sallyport group define acme/risk-team --in acme/ml",
		RunE: func(cmd *cobra.Command, args []string) error {
			g.Name = args[0]
			return do(cmd.Context(), a, with((*client.Client).DefineGroup, g), func(g api.Group) {
				a.line("group %s is part of %s", g.Name, list(g.Parents))
			})
		},
	}
	c.Flags().StringArrayVar(&g.Parents, "in", nil, "a group that contains it, `ORG/NAME`; may be repeated")
	c.Flags().BoolVar(&g.Guests, "guests", false, "guests may be in it")
	return c
}

func (a *app) groupMember(verb, short string, remove bool) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ORG/NAME WHO", Short: short, Args: arguments("ORG/NAME", "WHO"),
		Example: "  sallyport group " + verb + " acme/risk-team ana",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := sallyport.ParsePrincipalID(args[1])
			if err != nil {
				return err
			}
			return do(cmd.Context(), a, with2((*client.Client).Join, id, api.Group{Name: args[0], Remove: remove}), func(g api.Group) {
				a.line("%s: %s %s", id, verb, g.Name)
			})
		},
	}
}

func (a *app) role() *cobra.Command {
	return noun(&cobra.Command{Use: "role", Short: "Roles: list, define, assign, unassign"},
		a.roleList(), a.roleDefine(), a.roleAssign(), a.roleUnassign())
}

func (a *app) roleList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List roles and who holds them on what", Args: arguments(),
		Example: "  sallyport role ls",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return do(cmd.Context(), a, (*client.Client).Roles, func(all api.Roles) {
				t := table{headings: []string{"ROLE", "INHERITS", "PRIVILEGED", "WHAT IT IS FOR"}, none: "There are no roles."}
				for _, r := range all.Roles {
					t.row(r.Name, list(r.Inherits), yesNo(r.Privileged), cmp.Or(r.Description, "-"))
				}
				a.table(t)
				t = table{headings: []string{"ASSIGNMENT", "WHO", "ROLE", "ON", "UNTIL"}, none: "Nobody holds a role."}
				for _, s := range all.Assignments {
					t.row(s.ID, s.Subject, s.Role, s.Scope, a.when(s.Until))
				}
				a.line("")
				a.table(t)
			})
		},
	}
}

func (a *app) roleDefine() *cobra.Command {
	r := api.Role{}
	c := &cobra.Command{
		Use: "define NAME", Short: "Make a role, or change it", Args: arguments("NAME"),
		Example: `  sallyport role define operator --inherits reader --description "runs endpoints" --privileged`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Name = args[0]
			return do(cmd.Context(), a, with((*client.Client).DefineRole, r), func(r api.Role) {
				a.line("role %s is defined", r.Name)
			})
		},
	}
	c.Flags().StringArrayVar(&r.Inherits, "inherits", nil, "a `ROLE` whose rights it has too; may be repeated")
	c.Flags().StringVar(&r.Description, "description", "", "what it is for")
	c.Flags().BoolVar(&r.Privileged, "privileged", false, "it gives more than everyday rights")
	return c
}

func (a *app) roleAssign() *cobra.Command {
	var for_ time.Duration
	c := &cobra.Command{
		Use: "assign WHO ROLE RESOURCE", Short: "Give a role on a resource", Args: arguments("WHO", "ROLE", "RESOURCE"),
		Example: `  sallyport role assign user:eva evaluator org:acme
  sallyport role assign group:acme/risk-team model-developer project:acme/risk --for 720h`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := sallyport.ParseRef(args[2])
			if err != nil {
				return err
			}
			s := api.Assignment{Subject: args[0], Role: args[1], Scope: ref.String()}
			if !strings.Contains(s.Subject, ":") {
				s.Subject = string(sallyport.User) + ":" + s.Subject
			}
			if for_ > 0 {
				s.Until = a.now().Add(for_).UTC()
			}
			return do(cmd.Context(), a, with((*client.Client).Assign, s), func(s api.Assignment) {
				a.line("%s: %s is %s on %s, until %s", s.ID, s.Subject, s.Role, s.Scope, a.when(s.Until))
			})
		},
	}
	c.Flags().DurationVar(&for_, "for", 0, "for how long; without it until it is taken away")
	return c
}

func (a *app) roleUnassign() *cobra.Command {
	return &cobra.Command{
		Use: "unassign A-…", Short: "Take a role away, by the id of its assignment", Args: arguments("A-…"),
		Example: "  sallyport role unassign A-9dk2m1",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, done((*client.Client).Unassign, args[0], api.Assignment{ID: args[0]}), func(s api.Assignment) {
				a.line("%s is taken away", s.ID)
			})
		},
	}
}
