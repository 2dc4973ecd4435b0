package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

// A breed is one kind of members that are not forever: services, agents, guests.
type breed struct {
	noun  string // of the command
	kind  sallyport.PrincipalKind
	one   string // in sentences
	guest bool
}

func (b breed) holds(m api.Member) bool { return m.ID.Kind() == b.kind && m.Guest == b.guest }

// id reads a name, with or without its kind.
func (b breed) id(name string) (sallyport.PrincipalID, error) {
	if id, err := sallyport.NewPrincipalID(b.kind, name); err == nil {
		return id, nil
	}
	id, err := sallyport.ParsePrincipalID(name)
	if err == nil && id.Kind() != b.kind {
		err = sallyport.E(b.noun, sallyport.Invalid, string(id)+" is no "+b.one, "write "+string(b.kind)+":NAME or NAME")
	}
	return id, err
}

func (a *app) service() *cobra.Command {
	b := breed{noun: "service", kind: sallyport.Service, one: "service"}
	return noun(&cobra.Command{Use: b.noun, Short: "Accounts of programs: create, list, transfer, audit"},
		a.breedCreate(b), a.breedList(b), a.breedShow(b), a.breedExtend(b), a.breedTransfer(b), a.serviceAudit(b), a.breedRemove(b, "rm"))
}

func (a *app) agentIdentity() *cobra.Command {
	b := breed{noun: "agent-identity", kind: sallyport.Agent, one: "agent"}
	return noun(&cobra.Command{Use: b.noun, Short: "Accounts of agents, which act only on behalf of somebody: create, list, transfer"},
		a.breedCreate(b), a.breedList(b), a.breedShow(b), a.breedExtend(b), a.breedTransfer(b), a.serviceAudit(b), a.breedRemove(b, "rm"))
}

func (a *app) guest() *cobra.Command {
	b := breed{noun: "guest", kind: sallyport.User, one: "guest", guest: true}
	return noun(&cobra.Command{Use: b.noun, Short: "People from outside, with a sponsor and an end: invite, list, end"},
		a.guestInvite(b), a.breedList(b), a.breedShow(b), a.breedExtend(b), a.guestSponsor(b), a.breedRemove(b, "end"))
}

func (a *app) breedCreate(b breed) *cobra.Command {
	m := api.Member{}
	var owner, term, environment string
	c := &cobra.Command{
		Use: "create NAME", Short: "Add an account with an owner, a purpose and an end", Args: arguments("NAME"),
		Long: `Add an account that acts without a person at a keyboard. A person answers for it, it has a purpose, and it ends by
itself, at most a year from now. It keeps no secret: a job proves itself by a trust rule, see 'sallyport trust add'.`,
		Example: "  sallyport " + b.noun + ` create trainer --org acme --owner ana --purpose "trains the fraud model" --for 90d`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if m.ID, err = b.id(args[0]); err != nil {
				return err
			}
			if owner == "" || term == "" || m.Purpose == "" {
				return usage(cmd, "say --owner, --purpose and --for")
			}
			if m.Person, err = sallyport.ParsePrincipalID(owner); err != nil {
				return err
			}
			if m.Ends, err = endOf(term, a.now()); err != nil {
				return err
			}
			if environment != "" {
				if m.Environment, err = sallyport.ParseEnvironment(environment); err != nil {
					return err
				}
			}
			return a.addMember(cmd, m)
		},
	}
	c.Flags().StringVar(&m.Org, "org", "", "the organisation")
	c.Flags().StringVar(&owner, "owner", "", "the `NAME` of the person who answers for it")
	c.Flags().StringVar(&m.Purpose, "purpose", "", "what it is for")
	c.Flags().StringVar(&term, "for", "", "until when, such as `90d` or 2027-06-30")
	c.Flags().StringArrayVar(&m.Groups, "group", nil, "a group, `ORG/NAME`; may be repeated")
	c.Flags().StringVar(&environment, "environment", "", "where it runs: development, staging or production")
	complete(c, "environment", "development", "staging", "production")
	return c
}

func (a *app) addMember(cmd *cobra.Command, m api.Member) error {
	return do(cmd.Context(), a, with((*client.Client).AddPerson, m), func(m api.Member) {
		a.line("%s is added; %s answers for it, until %s", m.ID, cmp.Or(m.Sponsor, m.Person), a.when(m.Ends))
	})
}

func (a *app) guestInvite(b breed) *cobra.Command {
	m := api.Member{Guest: true}
	var sponsor, term string
	c := &cobra.Command{
		Use: "invite NAME", Short: "Add a guest with a sponsor and an end, and print their enrolment link", Args: arguments("NAME"),
		Long: `Add a person from outside. They are in no group of the house but those that take guests ('sallyport group define
--guests'), and can do what is given to them or to such a group. They are suspended when they end, and as soon as
their sponsor is suspended or leaves.`,
		Example: `  sallyport guest invite gia --org globex --sponsor ana --for 30d --group acme/visitors`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if m.ID, err = b.id(args[0]); err != nil {
				return err
			}
			if sponsor == "" || term == "" {
				return usage(cmd, "say --sponsor and --for")
			}
			if m.Sponsor, err = sallyport.ParsePrincipalID(sponsor); err != nil {
				return err
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
			return a.enrol(cmd.Context(), c, m.ID)
		},
	}
	c.Flags().StringVar(&m.Org, "org", "", "the organisation they come from")
	c.Flags().StringVar(&m.Display, "name", "", "the `NAME` that people read")
	c.Flags().StringVar(&sponsor, "sponsor", "", "the `NAME` of the person who vouches for them")
	c.Flags().StringVar(&term, "for", "", "until when, such as `30d` or 2027-06-30")
	c.Flags().StringArrayVar(&m.Groups, "group", nil, "a group that takes guests, `ORG/NAME`; may be repeated")
	return c
}

func (a *app) breedList(b breed) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List them, with who answers for each and until when", Args: arguments(),
		Example: "  sallyport " + b.noun + " ls --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{headings: []string{"WHO", "STATE", "ORG", "ANSWERED FOR BY", "ENDS", "PURPOSE"}, none: "There is none."}
			return rows(cmd.Context(), a, func(c *client.Client, ctx context.Context) ([]api.Member, error) {
				all, err := c.People(ctx)
				return slices.DeleteFunc(all, func(m api.Member) bool { return !b.holds(m) }), err
			}, t, func(m api.Member) []string {
				return []string{string(m.ID), m.State, cmp.Or(m.Org, "-"), string(cmp.Or(m.Sponsor, m.Person)), a.when(m.Ends), cmp.Or(m.Purpose, "-")}
			})
		},
	}
}

// A shown member is everything that is known of what it may do and how it gets in.
type shownMember struct {
	api.Member
	Roles []api.Assignment `json:"roles"`
	Trust []api.TrustRule  `json:"trust"`
}

func (a *app) breedShow(b breed) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show one: who answers for it, its roles, how it proves itself", Args: arguments("NAME"),
		Example: "  sallyport " + b.noun + " show trainer",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := b.id(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			m, err := a.lookUp(cmd, c, id)
			if err != nil {
				return err
			}
			return a.answer(m, func() {
				a.line("%s is %s, of %s; %s answers for it until %s", m.ID, m.State, m.Org, cmp.Or(m.Sponsor, m.Person), a.when(m.Ends))
				if m.Purpose != "" {
					a.line("purpose: %s", m.Purpose)
				}
				for _, r := range m.Roles {
					a.line("%s on %s (%s, by %s)", r.Role, r.Scope, r.ID, r.Subject)
				}
				for _, r := range m.Trust {
					a.line("proved by %s: %s", r.Name, r.Issuer)
				}
			})
		},
	}
}

func (a *app) lookUp(cmd *cobra.Command, c *client.Client, id sallyport.PrincipalID) (shownMember, error) {
	out := shownMember{Roles: []api.Assignment{}, Trust: []api.TrustRule{}}
	all, err := c.People(cmd.Context())
	if err != nil {
		return out, err
	}
	i := slices.IndexFunc(all, func(m api.Member) bool { return m.ID == id })
	if i < 0 {
		return out, sallyport.E("show", sallyport.NotFound, "there is no "+string(id), "")
	}
	out.Member = all[i]
	roles, err := c.Roles(cmd.Context())
	if err != nil {
		return out, err
	}
	for _, r := range roles.Assignments {
		if r.Subject == string(id) || slices.ContainsFunc(out.Groups, func(g string) bool { return r.Subject == "group:"+g }) {
			out.Roles = append(out.Roles, r)
		}
	}
	rules, err := c.TrustRules(cmd.Context())
	for _, r := range rules {
		if r.Principal == id {
			out.Trust = append(out.Trust, r)
		}
	}
	return out, err
}

func (a *app) breedExtend(b breed) *cobra.Command {
	var term string
	c := &cobra.Command{
		Use: "extend NAME", Short: "Set a new end, at most a year from now", Args: arguments("NAME"),
		Example: "  sallyport " + b.noun + " extend trainer --for 90d",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := b.id(args[0])
			if err != nil {
				return err
			}
			if term == "" {
				return usage(cmd, "say --for")
			}
			ends, err := endOf(term, a.now())
			if err != nil {
				return err
			}
			return do(cmd.Context(), a, with2((*client.Client).Extend, id, ends), func(m api.Member) {
				a.line("%s ends %s", m.ID, a.when(m.Ends))
			})
		},
	}
	c.Flags().StringVar(&term, "for", "", "until when, such as `90d` or 2027-06-30")
	return c
}

func (a *app) breedTransfer(b breed) *cobra.Command {
	return a.handOver(b, "transfer", "Make another person answer for it", (*client.Client).SetOwner)
}

func (a *app) guestSponsor(b breed) *cobra.Command {
	return a.handOver(b, "sponsor", "Make another person vouch for a guest", (*client.Client).SetSponsor)
}

func (a *app) handOver(b breed, verb, short string, give handing) *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: verb + " NAME", Short: short, Args: arguments("NAME"),
		Example: "  sallyport " + b.noun + " " + verb + " trainer --to eva",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := b.id(args[0])
			if err != nil {
				return err
			}
			if to == "" {
				return usage(cmd, "say --to")
			}
			person, err := sallyport.ParsePrincipalID(to)
			if err != nil {
				return err
			}
			return do(cmd.Context(), a, with2(give, id, person), func(m api.Member) { a.line("%s answers for %s", cmp.Or(m.Sponsor, m.Person), m.ID) })
		},
	}
	c.Flags().StringVar(&to, "to", "", "the `NAME` of the person")
	return c
}

// handing is a method of the client that makes somebody answer for somebody.
type handing func(c *client.Client, ctx context.Context, id, to sallyport.PrincipalID) (api.Member, error)

func (a *app) breedRemove(b breed, verb string) *cobra.Command {
	l := api.Leave{Remove: true}
	c := &cobra.Command{
		Use: verb + " NAME", Short: "End it for good: tokens, grants, roles and running calls; the name is never given again", Args: arguments("NAME"),
		Example: "  sallyport " + b.noun + " " + verb + ` trainer --why "replaced"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := b.id(args[0])
			if err != nil {
				return err
			}
			if l.Why == "" {
				return usage(cmd, "say --why")
			}
			return do(cmd.Context(), a, with2((*client.Client).Leave, id, l), func(left api.Left) {
				a.line("%s is %s, in force after %s", left.Who, left.State, left.InEffect)
			})
		},
	}
	c.Flags().StringVar(&l.Why, "why", "", "the reason, for the record")
	return c
}
