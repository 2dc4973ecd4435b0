package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) login() *cobra.Command {
	var noBrowser, bind bool
	var level string
	c := &cobra.Command{
		Use: "login", Short: "Sign in, with a browser here or on another machine", Args: arguments(),
		Long: `Sign in. A browser on this machine answers to a loopback address (OAuth 2.0 code with PKCE);
with --no-browser you type a code into a browser on any machine. What you prove there, this command never sees.

With --bind the login is bound to a key of this device (DPoP): its tokens are of no use to a thief. Programs of others then
go through 'sallyport run' or 'sallyport agent'. A bound login stays bound when you sign in again; --bind=false ends that.`,
		Example: `  sallyport login --server https://sally.acme.example --ca sallyport-ca.pem
  sallyport login --assurance phr
  sallyport login --bind
  sallyport login --no-browser`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := client.LoginOptions{Open: a.browse, Show: a.showCode}
			var err error
			if level != "" {
				if o.Assurance, err = sallyport.ParseAssurance(level); err != nil {
					return err
				}
			}
			if err := a.bind(cmd, bind); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.signIn(cmd.Context(), c, o, noBrowser)
		},
	}
	c.Flags().BoolVar(&noBrowser, "no-browser", false, "use a browser on another machine")
	c.Flags().StringVar(&level, "assurance", "", "prove yourself at this `LEVEL`: aal1, aal2, phr or aal3")
	c.Flags().BoolVar(&bind, "bind", false, "bind the login to a key of this device")
	complete(c, "assurance", levels()...)
	return c
}

// levels are the names of the levels that can be asked for.
func levels() []string {
	var names []string
	for l := sallyport.SingleFactor; l <= sallyport.Hardware; l++ {
		names = append(names, l.String())
	}
	return names
}

// bind makes the key ready that a new login is to be bound to.
func (a *app) bind(cmd *cobra.Command, bind bool) error {
	a.bearer = cmd.Flags().Changed("bind") && !bind
	if !bind {
		return nil
	}
	store, err := a.store()
	if err != nil {
		return err
	}
	if d, err := a.thisComputer(cmd.Context(), store); err != nil {
		return err
	} else if d != nil {
		a.key, err = client.NewKey(d.Key())
		return err
	}
	a.key, err = store.Key(cmd.Context(), true)
	return err
}

func (a *app) signIn(ctx context.Context, c *client.Client, o client.LoginOptions, noBrowser bool) error {
	method := c.Login
	if noBrowser {
		method = c.LoginDevice
	}
	if err := method(ctx, o); err != nil {
		return err
	}
	who, err := c.Who(ctx)
	if err != nil {
		return err
	}
	return a.answer(who, func() {
		a.line("signed in to %s as %s, %s", c.Server(), who.ID, who.Assurance)
	})
}

// browse opens a browser, and prints the address for whoever has none.
func (a *app) browse(ctx context.Context, address string) error {
	fmt.Fprintf(a.err, "Sign in with your browser at\n\n  %s\n\n", clean(address))
	if !a.opened(ctx, address) {
		fmt.Fprintln(a.err, "No browser could be started here. On another machine use: sallyport login --no-browser")
	}
	return nil
}

// browsePage opens a page of the server in a browser, and prints its address for whoever has none.
func (a *app) browsePage(ctx context.Context, address string) error {
	fmt.Fprintf(a.err, "Look at it and sign it in your browser at\n\n  %s\n\n", clean(address))
	a.opened(ctx, address)
	return nil
}

// opened starts a browser, and reports whether there is one.
func (a *app) opened(ctx context.Context, address string) bool {
	opener := cmp.Or(a.env("BROWSER"), map[string]string{"darwin": "open", "windows": "explorer"}[runtime.GOOS], "xdg-open")
	cmd := exec.CommandContext(ctx, opener, address)
	if cmd.Start() != nil {
		return false
	}
	go func() { _ = cmd.Wait() }() // whether it opened one, the person sees
	return true
}

func (a *app) showCode(d client.DeviceCode) {
	fmt.Fprintf(a.err, "On any machine open\n\n  %s\n\nand type the code\n\n  %s\n\nIt is good for %s.\n", clean(d.Address), clean(d.Code), span(d.Life))
}

func (a *app) logout() *cobra.Command {
	var everywhere bool
	c := &cobra.Command{
		Use: "logout", Short: "Sign out here, or everywhere", Args: arguments(),
		Example: `  sallyport logout
  sallyport logout --everywhere   # ends every session and login of yours, and what runs under them`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if everywhere {
				h, err := c.LogoutEverywhere(cmd.Context())
				if err != nil {
					return err
				}
				return a.answer(h, func() { a.line("signed out everywhere"); a.cuts(h) })
			}
			if err := c.Logout(cmd.Context()); err != nil {
				if e, ok := errors.AsType[*client.Error](err); ok {
					e.API.Message = "you are signed out here, but the server could not be told: " + e.API.Message
				}
				return err
			}
			return a.answer(map[string]string{"server": c.Server()}, func() { a.line("signed out of %s", c.Server()) })
		},
	}
	c.Flags().BoolVar(&everywhere, "everywhere", false, "end every session and login of yours")
	return c
}

func (a *app) whoami() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Say who you are, what you can do now, after a step-up, on request, and not at all", Args: arguments(),
		Example: "  sallyport whoami",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return do(cmd.Context(), a, (*client.Client).Who, func(who api.Who) {
				a.line("%s", who.Sentence(a.when))
				if who.Bound || who.Device != "" {
					a.line("  token          bound to a key: %s, device: %s", yesNo(who.Bound), cmp.Or(who.Device, "none that is enrolled"))
				}
				if watched := who.Watched(a.when); watched != "" {
					a.line("  on probation   %s", watched)
				}
				a.line("  groups         %s", list(who.Groups))
				for _, role := range who.Held(a.when) {
					a.line("  role           %s", role)
				}
				for _, r := range who.Rights {
					a.line("%s  %s", r.Resource, r.Class)
					a.line("  can now        %s", list(r.Can))
					a.line("  after step-up  %s", list(r.StepUp))
					if len(r.Device) > 0 {
						a.line("  from a device  %s", list(r.Device))
					}
					a.line("  may request    %s", list(r.Request))
					a.line("  cannot         %s", list(r.Cannot))
				}
				if len(who.Rights) == 0 {
					a.line("%s", who.Nothing())
				}
			})
		},
	}
}

func (a *app) sessions() *cobra.Command {
	var end string
	c := &cobra.Command{
		Use: "sessions", Short: "List where you are signed in, or end one", Args: arguments(),
		Example: `  sallyport sessions
  sallyport sessions --end S-4f2kq81mzt`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if end != "" {
				h, err := c.EndSession(cmd.Context(), end)
				if err != nil {
					return err
				}
				return a.answer(h, func() { a.line("ended %s", end); a.cuts(h) })
			}
			all, err := c.Sessions(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(all, func() {
				t := table{headings: []string{"SESSION", "KIND", "LEVEL", "LAST SEEN", "ENDS", "FROM", ""}, none: "You are signed in nowhere."}
				for _, s := range all {
					here := ""
					if s.Current {
						here = "this one"
					}
					t.row(s.ID, s.Kind, s.Assurance, a.when(s.LastSeen), a.when(s.Expires), cmp.Or(s.IP, "-"), here)
				}
				a.table(t)
			})
		},
	}
	c.Flags().StringVar(&end, "end", "", "end the session with this `ID`, and what runs under it")
	return c
}
