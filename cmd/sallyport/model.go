package main

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) ls() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List what you may know of", Args: arguments("[PREFIX]"),
		Example: `  sallyport ls
  sallyport ls acme/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, func(c *client.Client, ctx context.Context) ([]api.Thing, error) {
				all, err := c.Things(ctx)
				if len(args) == 1 {
					all = slices.DeleteFunc(all, func(t api.Thing) bool { return !strings.HasPrefix(t.Resource, args[0]) })
				}
				return all, err
			}, a.things)
		},
	}
}

func (a *app) things(all []api.Thing) {
	t := table{headings: []string{"RESOURCE", "CLASS", "VERSION", "ENVIRONMENT", "PROJECT", "OWNERS"}, none: "There is nothing that you may know of."}
	for _, x := range all {
		t.row(x.Resource, string(x.Class), cmp.Or(x.Version, "-"), cmp.Or(string(x.Environment), "-"), cmp.Or(x.Project, "-"), list(x.Owners))
	}
	a.table(t)
}

func (a *app) show() *cobra.Command {
	return &cobra.Command{
		Use: "show ORG/MODEL[@VERSION]", Short: "Show a version of a model: its files, digests, names", Args: arguments("ORG/MODEL[@VERSION]"),
		Example: "  sallyport show acme/fraud@v3",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with((*client.Client).Manifest, args[0]), func(m client.Manifest) {
				a.line("%s  %s, %s", m.Ref(), m.Class, cmp.Or(m.Environment, "no environment"))
				a.line("  digest  sha256:%s", m.Digest)
				a.line("  size    %s in %d files", size(m.Size()), len(m.Files))
				t := table{headings: []string{"FILE", "KIND", "SIZE", "SHA-256"}}
				for _, f := range m.Files {
					t.row(f.Path, f.Kind, size(f.Size), f.SHA256)
				}
				a.table(t)
			})
		},
	}
}

func (a *app) push() *cobra.Command {
	var class, project, alias, trainer string
	var from []string
	c := &cobra.Command{
		Use: "push DIR ORG/MODEL", Short: "Push the files of a directory as a new version of a model", Args: arguments("DIR", "ORG/MODEL"),
		Long: `Push a new version. An interrupted push goes on where it stopped when it is run again. Names that begin with a dot are
left out. With --class or --project a model that is not in the catalog yet is added first.`,
		Example: `  sallyport push ./out acme/fraud
  sallyport push ./out acme/fraud --alias candidate --from base=acme/base-7b@v1
  sallyport push ./out acme/new --project acme/risk --class restricted`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := made(cmd, from, trainer)
			if err != nil {
				return err
			}
			parsed, err := sallyport.ParseClass(class)
			if err != nil {
				return err
			}
			if _, err := client.Files(args[0]); err != nil { // before anything is changed
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if class != "" || project != "" {
				if err := a.ensure(cmd.Context(), c, api.Thing{Resource: args[1], Project: project, Class: parsed}); err != nil {
					return err
				}
			}
			m := a.meter()
			o.Alias, o.Progress = alias, m.show
			done, err := c.Push(cmd.Context(), args[0], args[1], o)
			e, is := errors.AsType[*client.Error](err)
			stays := is && e.API.Status == http.StatusConflict && !cmd.Flags().Changed("alias")
			if stays { // the name stands for a released version: to move it is a promotion, which is somebody else's
				o.Alias = ""
				done, err = c.Push(cmd.Context(), args[0], args[1], o)
			}
			m.done()
			if err != nil {
				return err
			}
			return a.answer(done, func() {
				a.line("pushed %s@%s, sha256:%s", args[1], done.Version, done.Digest)
				if stays {
					a.line("  main stays where it is; to move it: sallyport catalog promote %s@%s --alias main --why …", args[1], done.Version)
				}
			})
		},
	}
	c.Flags().StringVar(&class, "class", "", "of a new model: public, internal or restricted (the default)")
	c.Flags().StringVar(&project, "project", "", "of a new model: `ORG/NAME`")
	c.Flags().StringVar(&alias, "alias", "main", "let this name stand for the new version; \"\" moves none. Unless it is given, main stays with a released version")
	c.Flags().StringArrayVar(&from, "from", nil, "what it was made from: `KIND=RESOURCE`, with the kind base, dataset or adapter; may be repeated")
	c.Flags().StringVar(&trainer, "trained-by", "", "`WHO` trained it, where that is not you: they do not release it either")
	complete(c, "class", "public", "internal", "restricted")
	return c
}

// made is what a version was made from, and who trained it; "" is who pushes.
func made(cmd *cobra.Command, from []string, trainer string) (client.PushOptions, error) {
	var o client.PushOptions
	for _, f := range from {
		kind, ref, ok := strings.Cut(f, "=")
		if !ok {
			return o, usage(cmd, "write --from base=ORG/MODEL@VERSION or dataset=dataset:ORG/NAME")
		}
		o.Lineage = append(o.Lineage, client.Origin{Kind: kind, Ref: ref})
	}
	if trainer == "" {
		return o, nil
	}
	id, err := sallyport.ParsePrincipalID(trainer)
	o.TrainedBy = id
	return o, err
}

// ensure adds a model unless the catalog has it. What is there stays as it is.
func (a *app) ensure(ctx context.Context, c *client.Client, t api.Thing) error {
	all, err := c.Things(ctx)
	if err != nil {
		return err
	}
	there := slices.ContainsFunc(all, func(x api.Thing) bool { return x.Resource == t.Resource })
	if !there {
		_, err = c.Add(ctx, t)
		if e, ok := errors.AsType[*client.Error](err); ok && e.API.Status == http.StatusConflict {
			there, err = true, nil
		}
	}
	if there {
		a.note("%s is in the catalog already; its class stays (change it with 'sallyport catalog label')", clean(t.Resource))
	}
	return err
}

func (a *app) pull() *cobra.Command {
	var only []string
	c := &cobra.Command{
		Use: "pull ORG/MODEL[@VERSION] DIR", Short: "Pull the files of a version into a directory", Args: arguments("ORG/MODEL[@VERSION]", "DIR"),
		Long: `Pull a version. Every file is verified against the manifest before it gets its name; an interrupted pull goes on where
it stopped. Nothing is written outside of DIR.`,
		Example: `  sallyport pull acme/fraud@v3 ./fraud
  sallyport pull acme/fraud ./fraud --only tokenizer --only config`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			m := a.meter()
			o := client.PullOptions{Progress: m.show}
			if len(only) > 0 {
				o.Only = func(f client.File) bool { return slices.Contains(only, f.Kind) }
			}
			got, err := c.Pull(cmd.Context(), args[0], args[1], o)
			m.done()
			if err != nil {
				return err
			}
			return a.answer(got, func() {
				a.line("pulled %s into %s: %d files, %s, all verified", got.Ref(), args[1], len(got.Files), size(got.Size()))
			})
		},
	}
	c.Flags().StringArrayVar(&only, "only", nil, "only files of this `KIND`: weights, tokenizer, config, card, data; may be repeated")
	complete(c, "only", "weights", "tokenizer", "config", "card", "data")
	return c
}

func (a *app) catalog() *cobra.Command {
	list := &cobra.Command{
		Use: "ls", Short: "List what you may know of", Args: arguments("[PREFIX]"), RunE: a.ls().RunE,
	}
	return noun(&cobra.Command{Use: "catalog", Short: "What is protected: add, own, purposes, label, promote, retire"},
		list, a.catalogAdd(), a.catalogOwn(), a.catalogPurposes(), a.catalogLabel(), a.catalogLowerings(), a.catalogVote(true), a.catalogVote(false), a.catalogPromote(), a.catalogRetire())
}

func (a *app) catalogAdd() *cobra.Command {
	t := api.Thing{}
	var class, environment string
	var owners []string
	c := &cobra.Command{
		Use: "add RESOURCE", Short: "Add an organisation, project, model, dataset or endpoint", Args: arguments("RESOURCE"),
		Example: `  sallyport catalog add org:acme
  sallyport catalog add project:acme/risk
  sallyport catalog add acme/fraud --project acme/risk --class restricted --owner ana
  sallyport catalog add endpoint:acme/chat --project acme/language --model base-7b --environment production`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := sallyport.ParseRef(args[0])
			if err != nil {
				return err
			}
			t.Resource = ref.String()
			if class != "" {
				if t.Class, err = sallyport.ParseClass(class); err != nil {
					return err
				}
			}
			if environment != "" {
				if t.Environment, err = sallyport.ParseEnvironment(environment); err != nil {
					return err
				}
			}
			for _, o := range owners {
				id, err := sallyport.ParsePrincipalID(o)
				if err != nil {
					return err
				}
				t.Owners = append(t.Owners, id)
			}
			return a.changeThing(cmd.Context(), t, "added", (*client.Client).Add)
		},
	}
	c.Flags().StringVar(&class, "class", "", "public, internal or restricted; without one it counts as restricted")
	c.Flags().StringVar(&t.Project, "project", "", "the `ORG/NAME` it belongs to")
	c.Flags().StringArrayVar(&owners, "owner", nil, "who answers for it; may be repeated")
	c.Flags().StringVar(&t.Model, "model", "", "of an endpoint: the `NAME` of the model it serves")
	c.Flags().StringVar(&environment, "environment", "", "of an endpoint or a dataset: development, staging or production")
	c.Flags().StringArrayVar(&t.Purposes, "purpose", nil, "of a model or a dataset: a `NAME` of what it may be used for; may be repeated")
	complete(c, "class", "public", "internal", "restricted")
	complete(c, "environment", "development", "staging", "production")
	return c
}

// changeThing makes one change of the catalog.
func (a *app) changeThing(ctx context.Context, t api.Thing, what string, change func(*client.Client, context.Context, api.Thing) (api.Thing, error)) error {
	return do(ctx, a, with(change, t), func(t api.Thing) { a.line("%s is %s", t.Resource, what) })
}

func (a *app) catalogPurposes() *cobra.Command {
	var why string
	var purposes []string
	c := &cobra.Command{
		Use: "purposes RESOURCE", Short: "Say what a model or a dataset may be used for; it bites at once", Args: arguments("RESOURCE"),
		Long: `Say what a model, with all its versions, or a dataset may be used for, in place of what was said before. The purpose of a
call stands in its token. Without --for nothing is said any more.`,
		Example: `  sallyport catalog purposes dataset:acme/claims --for training --for evaluation --why "as agreed with the insurer"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if why == "" {
				return usage(cmd, "say why, with --why: it is recorded")
			}
			said := "for any purpose"
			if len(purposes) > 0 {
				said = "for " + strings.Join(purposes, ", ")
			}
			return a.changeThing(cmd.Context(), api.Thing{Resource: args[0], Purposes: purposes, Why: why}, said, (*client.Client).Purposes)
		},
	}
	c.Flags().StringArrayVar(&purposes, "for", nil, "a `NAME` of what it may be used for; may be repeated")
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for the record")
	return c
}

func (a *app) catalogLabel() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "label RESOURCE CLASS", Short: "Change the class of a resource: a stricter one bites at once, for another others are asked", Args: arguments("RESOURCE", "CLASS"),
		Example: `  sallyport catalog label acme/fraud restricted --why "trained on claims"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			class, err := sallyport.ParseClass(args[1])
			if err != nil {
				return err
			}
			if why == "" {
				return usage(cmd, "say why, with --why: it is recorded")
			}
			return do(cmd.Context(), a, with((*client.Client).Label, api.Thing{Resource: args[0], Class: class, Why: why}), func(t api.Thing) {
				if t.Request == "" {
					a.line("%s is %s", t.Resource, class)
					return
				}
				a.line("%s stays as it is until others approve: %s", t.Resource, t.Request)
				a.line("  they run: sallyport catalog approve %s", t.Request)
			})
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for the record")
	c.ValidArgsFunction = words(nil, []string{"public", "internal", "restricted"})
	return c
}

func (a *app) catalogPromote() *cobra.Command {
	var environment, why string
	var aliases []string
	c := &cobra.Command{
		Use: "promote ORG/MODEL@VERSION", Short: "Move a version to an environment, or a name to a version", Args: arguments("ORG/MODEL@VERSION"),
		Example: `  sallyport catalog promote acme/fraud@v3 --to production --alias main --why "evaluation 41 passed"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := api.Thing{Resource: args[0], Why: why, Aliases: map[string]string{}}
			if environment == "" && len(aliases) == 0 {
				return usage(cmd, "say where to, with --to ENVIRONMENT or --alias NAME")
			}
			if environment != "" {
				var err error
				if t.Environment, err = sallyport.ParseEnvironment(environment); err != nil {
					return err
				}
			}
			_, version, _ := strings.Cut(args[0], "@")
			if version == "" {
				return usage(cmd, "name the version: "+sallyport.OneLine(args[0])+"@VERSION")
			}
			for _, name := range aliases {
				t.Aliases[name] = version
			}
			words := slices.Sorted(maps.Keys(t.Aliases))
			if environment != "" {
				words = append([]string{environment}, words...)
			}
			return a.changeThing(cmd.Context(), t, strings.Join(words, ", ")+" now", (*client.Client).Promote)
		},
	}
	c.Flags().StringVar(&environment, "to", "", "development, staging or production")
	c.Flags().StringArrayVar(&aliases, "alias", nil, "a `NAME`, such as main, that shall stand for the version; may be repeated")
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for the record")
	complete(c, "to", "development", "staging", "production")
	return c
}

func (a *app) catalogRetire() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "retire ORG/MODEL@VERSION", Short: "Destroy the key of a version: its bytes are unreadable from then on, wherever copies are", Args: arguments("ORG/MODEL@VERSION"),
		Example: `  sallyport catalog retire acme/fraud@v2 --why "trained on data that was withdrawn"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if why == "" {
				return usage(cmd, "say why, with --why REASON: there is no way back")
			}
			retire := func(c *client.Client, ctx context.Context, t api.Thing) (api.Thing, error) {
				return t, c.Retire(ctx, t.Resource, t.Why)
			}
			return a.changeThing(cmd.Context(), api.Thing{Resource: args[0], Why: why}, "retired; its key is destroyed", retire)
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for the record")
	return c
}
