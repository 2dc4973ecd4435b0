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

func (a *app) breakglass() *cobra.Command {
	return noun(&cobra.Command{Use: "breakglass", Short: "Rights for an emergency: sealed beforehand, loud, over by themselves"},
		a.breakglassDefine(), a.breakglassOpen(), a.breakglassVote("approve", "Agree to seal or to open", true), a.breakglassVote("deny", "Refuse to seal or to open", false),
		a.breakglassStatus(), a.breakglassEnd(), a.breakglassReview())
}

func (a *app) breakglassDefine() *cobra.Command {
	b := api.BreakGlass{}
	c := &cobra.Command{
		Use: "define NAME", Short: "Propose a right; two others approve it, and then it is sealed", Args: arguments("NAME"),
		Example: `  sallyport breakglass define restore --opener group:acme/oncall --role administrator --on system --for 1h --why "the identity provider is down"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			b.Name = args[0]
			return do(cmd.Context(), a, with((*client.Client).DefineBreakGlass, b), func(done api.BreakGlass) {
				a.line("%s waits for two others: sallyport breakglass approve %s", done.Name, done.Request)
			})
		},
	}
	c.Flags().StringArrayVar(&b.Openers, "opener", nil, "who may open it, `user:NAME or group:ORG/NAME`; may be repeated")
	c.Flags().StringVar(&b.Role, "role", "", "the `ROLE` that it gives")
	c.Flags().StringVar(&b.Scope, "on", "", "the `RESOURCE` that it gives it on")
	c.Flags().StringVar(&b.For, "for", "1h", "how long it stays open, `DURATION`; 4h at most")
	c.Flags().StringVar(&b.Why, "why", "", "what it is for, `TEXT`")
	return c
}

func (a *app) breakglassOpen() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "open NAME", Short: "Ask to open; it takes a hardware key and two others, and everybody is told", Args: arguments("NAME"),
		Example: `  sallyport breakglass open restore --why "nobody can sign in since 14:02"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if why == "" {
				return usage(cmd, "say why, with --why: it is recorded")
			}
			return judge(cmd.Context(), a, with2((*client.Client).OpenBreakGlass, args[0], why), func(o api.Opening) {
				a.line("%s waits for two others: sallyport breakglass approve %s", o.ID, o.Request)
			}, func(api.Opening) int { return client.ExitPending })
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for the record")
	return c
}

// emergency finds what a request to seal or open asks.
func emergency(ctx context.Context, c *client.Client, id string) (scope, hash, subject string, err error) {
	all, err := c.Emergencies(ctx)
	if err != nil {
		return "", "", "", err
	}
	for _, b := range all.Rights {
		if b.Request == id || b.Name == id {
			scope, hash, subject = b.Scope, b.Hash, b.Subject
		}
	}
	for _, o := range all.Openings {
		if o.Request == id || o.ID == id {
			scope, hash, subject = o.Scope, o.Hash, o.Subject
		}
	}
	if hash == "" {
		err = sallyport.E("break-glass", sallyport.NotFound, "nothing of this name waits for you", "run 'sallyport breakglass status'")
	}
	return scope, hash, subject, err
}

func (a *app) breakglassVote(verb, short string, yes bool) *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: verb + " R-…", Short: short, Args: arguments("R-…"),
		Example: "  sallyport breakglass " + verb + " R-4F2KQ81MZT --why \"I spoke with them on the telephone\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			scope, hash, subject, err := emergency(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			a.note("%s", clean(subject))
			r, err := c.VoteBreakGlass(cmd.Context(), args[0], scope, api.Vote{Yes: yes, Reason: why, Hash: hash})
			if err != nil {
				return err
			}
			return a.answer(r, func() { a.line("%s is %s", r.ID, r.State) })
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for the record")
	return c
}

func (a *app) breakglassStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Rights for an emergency and their openings; exit code 4 while one is open or waits for its review", Args: arguments(),
		Example: "  sallyport breakglass status",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return judge(cmd.Context(), a, (*client.Client).Emergencies, a.showEmergencies, func(all api.Emergencies) int {
				if slices.ContainsFunc(all.Openings, func(o api.Opening) bool { return o.State == "open" || o.State == "over" }) {
					return client.ExitPending
				}
				return 0
			})
		},
	}
}

func (a *app) showEmergencies(all api.Emergencies) {
	t := table{headings: []string{"RIGHT", "OPENED BY", "ROLE", "ON", "FOR", "SEALED", "REQUEST"}, none: "No right for an emergency is defined that you may know of."}
	for _, b := range all.Rights {
		t.row(b.Name, list(b.Openers), b.Role, b.Scope, b.For, a.when(b.Sealed), b.Request)
	}
	a.table(t)
	if len(all.Openings) == 0 {
		return
	}
	t = table{headings: []string{"OPENING", "RIGHT", "WHO", "STATE", "UNTIL", "WHY", "REQUEST", "REVIEW"}}
	for _, o := range all.Openings {
		review := o.Review
		if o.Overdue {
			review = "overdue"
		}
		t.row(o.ID, o.Name, string(o.Who), o.State, a.when(o.Until), o.Why, o.Request, cmp.Or(review, "-"))
	}
	a.table(t)
}

func (a *app) breakglassEnd() *cobra.Command {
	return &cobra.Command{
		Use: "end B-…", Short: "End an opening before its time", Args: arguments("B-…"),
		Example: "  sallyport breakglass end B-4F2KQ81MZT",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with((*client.Client).EndBreakGlass, args[0]), func(o api.Opening) {
				a.line("%s is %s", o.ID, o.State)
			})
		},
	}
}

func (a *app) breakglassReview() *cobra.Command {
	var text string
	c := &cobra.Command{
		Use: "review B-…", Short: "Close the record of an opening that you neither opened nor approved", Args: arguments("B-…"),
		Example: `  sallyport breakglass review B-4F2KQ81MZT --text "looked at all 14 actions; the provider was down from 13:58 to 15:10"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if text == "" {
				return usage(cmd, "say what you found, with --text: it is recorded")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			all, err := c.Emergencies(cmd.Context())
			if err != nil {
				return err
			}
			scope := ""
			for _, o := range all.Openings {
				if o.ID == args[0] {
					scope = o.Scope
				}
			}
			o, err := c.ReviewBreakGlass(cmd.Context(), args[0], scope, text)
			if err != nil {
				return err
			}
			return a.answer(o, func() { a.line("%s is %s", o.ID, o.State) })
		},
	}
	c.Flags().StringVar(&text, "text", "", "what you found, `TEXT`")
	return c
}
