package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/client/device"
	"sallyport/internal/plumbing/posture"
	"sallyport/internal/web/api"
)

func (a *app) device() *cobra.Command {
	return noun(&cobra.Command{Use: "device", Short: "Your enrolled devices: keys that stay on them, certificates, their state"},
		a.deviceEnroll(), a.deviceList(), a.deviceShow(), a.devicePosture(), a.deviceRenew(), a.devicePEM(), a.deviceRemove(), a.devicePromote(), a.deviceComply())
}

// keeper keeps this computer's enrolments beside the logins.
func (a *app) keeper() (*device.Keeper, error) {
	dir, err := a.dir()
	return &device.Keeper{Dir: dir, System: posture.This(a.env("HOME")), Now: a.now}, err
}

// enrolled opens this computer's enrolment at a server, once; nil where there is none. One that was copied from another
// computer is refused before anything is sent.
func (a *app) enrolled(ctx context.Context, server string) (*device.Device, error) {
	if a.computer != nil {
		return a.computer, nil
	}
	k, err := a.keeper()
	if err != nil {
		return nil, err
	}
	d, err := k.Open(ctx, server)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a.computer = d
	return d, nil
}

// thisComputer is its enrolment at the server that a login is about to be made at; nil where there is none.
func (a *app) thisComputer(ctx context.Context, store *client.Store) (*device.Device, error) {
	server := cmp.Or(a.server, a.env("SALLYPORT_SERVER"))
	if server == "" {
		l, err := a.kept(store, "")
		if err != nil || l.Server == "" {
			return nil, err
		}
		server = l.Server
	}
	if server, err := client.ParseServer(server, false); err == nil {
		return a.enrolled(ctx, server)
	}
	return nil, nil // the login says what is wrong with it
}

// shown has a client show this computer's certificate, where there is one.
func (a *app) shown(ctx context.Context, cfg *client.Config) (*device.Device, error) {
	if a.unenrolled || cfg.Plaintext {
		return nil, nil
	}
	server, err := client.ParseServer(cfg.Server, false)
	if err != nil {
		return nil, nil // client.New says why
	}
	d, err := a.enrolled(ctx, server)
	if d != nil {
		cfg.Certificate = d.Certificate
	}
	return d, err
}

// renewFor bounds what renewing a certificate in passing may take.
const renewFor = 10 * time.Second

// renewed renews the certificate of this computer when a third of its life is left. That it did not work is told, and
// stops nothing: the next command tries again.
func (a *app) renewed(ctx context.Context, c *client.Client) {
	if a.computer == nil || !a.computer.Due() || !a.now().Before(a.computer.Expires()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewFor)
	defer cancel()
	if _, err := a.computer.Renew(ctx, c); err != nil {
		a.note("this device's certificate ends %s and could not be renewed: %s", a.when(a.computer.Expires()), message(err))
	}
}

func (a *app) deviceEnroll() *cobra.Command {
	e := device.Enrolment{}
	c := &cobra.Command{
		Use: "enroll [NAME]", Short: "Enrol this computer: a key that does not leave it, and a certificate over it", Args: arguments("[NAME]"),
		Long: `Make a key in this computer's TPM 2.0, prove that it is there, and get a certificate that lives for a day and renews itself.
Without a TPM, --software keeps the key in a file that is bound to this computer; policy can tell the two apart (level 3 and 2).`,
		Example: `  sallyport device enroll
  sallyport device enroll laptop --tpm /dev/tpmrm0
  sallyport device enroll --software`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if e.Software && e.TPM != "" {
				return usage(cmd, "a key is in the TPM or in a file, not in both")
			}
			e.Name = hostname()
			if len(args) == 1 {
				e.Name = args[0]
			}
			k, err := a.keeper()
			if err != nil {
				return err
			}
			a.unenrolled = true // the present certificate is about to be replaced
			c, err := a.connect()
			if err != nil {
				return err
			}
			done := a.waiting("enrolling")
			d, out, err := k.Enrol(cmd.Context(), c, e)
			done()
			if err != nil {
				return err
			}
			if err := d.Close(); err != nil {
				return err
			}
			return a.answer(out, func() {
				a.line("%s: %s is enrolled, %s", out.ID, out.Name, level(out.Level))
				a.line("  certificate until %s, renewed by itself while you use Sallyport", a.when(out.Expires))
			})
		},
	}
	c.Flags().StringVar(&e.TPM, "tpm", "", "the TPM's `PATH`; default: the computer's own")
	c.Flags().BoolVar(&e.Software, "software", false, "keep the key in a file, where there is no TPM")
	return c
}

// hostname is the computer's name in the spelling that names have, "computer" where it has none.
func hostname() string {
	name, err := os.Hostname()
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	if err != nil || sallyport.CheckName("device", name) != nil {
		return "computer"
	}
	return name
}

// level is how well a device's key is bound to it, for people.
func level(n int) string {
	switch n {
	case 1:
		return "level 1 (a bound key)"
	case 2:
		return "level 2 (a key in software)"
	case 3:
		return "level 3 (a key that a TPM keeps)"
	}
	return "level " + strconv.Itoa(n)
}

func (a *app) deviceList() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "ls", Short: "List your devices", Args: arguments(),
		Example: `  sallyport device ls
  sallyport device ls --all   # everybody's, for administrators`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{headings: []string{"DEVICE", "NAME", "OWNER", "CLASS", "LEVEL", "CERTIFICATE", "POSTURE", "STATE"}, none: "No device is enrolled. Enrol this one with: sallyport device enroll"}
			return rows(cmd.Context(), a, with((*client.Client).Devices, all), t, func(d api.Device) []string {
				name := d.Name
				if d.Current {
					name += " (this one)"
				}
				return []string{d.ID, name, string(d.Owner), d.Class, strconv.Itoa(d.Level), a.when(d.Expires), postureOf(d), d.State}
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "everybody's")
	return c
}

// postureOf is a device's state in one cell.
func postureOf(d api.Device) string {
	switch {
	case d.Against != "":
		return "not compliant: " + d.Against
	case d.Posture == nil:
		return "never reported"
	}
	bad := []string{}
	for what, good := range map[string]bool{"not patched": d.Posture.Patched, "not encrypted": d.Posture.Encrypted, "does not lock": d.Posture.Locked} {
		if !good {
			bad = append(bad, what)
		}
	}
	if len(bad) == 0 {
		bad = []string{"in order"}
	}
	return list(slices.Sorted(slices.Values(bad))) + ", " + span(time.Duration(d.Posture.Age)*time.Second) + " old"
}

func (a *app) deviceShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [DV-…]", Short: "Show one device of yours; default: this computer", Args: arguments("[DV-…]"),
		Example: "  sallyport device show",
		RunE: func(cmd *cobra.Command, args []string) error {
			d, _, err := a.oneDevice(cmd, args)
			if err != nil {
				return err
			}
			return a.answer(d, func() { a.showDevice(d) })
		},
	}
}

// oneDevice is the device that is meant: one by its id, or this computer.
func (a *app) oneDevice(cmd *cobra.Command, args []string) (api.Device, *client.Client, error) {
	c, err := a.connect()
	if err != nil {
		return api.Device{}, nil, err
	}
	id := ""
	switch {
	case len(args) == 1:
		id = args[0]
	case a.computer != nil:
		id = a.computer.ID()
	default:
		return api.Device{}, c, sallyport.E("device", sallyport.NotFound, "this computer is not enrolled at "+c.Server(), "enrol it with 'sallyport device enroll'")
	}
	d, err := c.Device(cmd.Context(), id)
	return d, c, err
}

func (a *app) showDevice(d api.Device) {
	a.line("%s  %s, of %s", d.ID, d.Name, d.Owner)
	a.line("  key          jkt:%s, %s", d.Key, level(d.Level))
	if d.TPM != "" {
		a.line("  TPM          endorsement key %s", d.TPM)
	}
	a.line("  class        %s", d.Class)
	a.line("  certificate  %s, until %s", d.Serial, a.when(d.Expires))
	a.line("  enrolled     %s, last seen %s", a.when(d.Created), a.when(d.Seen))
	a.line("  state        %s", d.State)
	if d.Why != "" {
		a.line("  removed      %s: %s", a.when(d.Ended), d.Why)
	}
	a.showPosture(d)
}

func (a *app) showPosture(d api.Device) {
	a.line("  posture      %s", postureOf(d))
	if p := d.Posture; p != nil {
		a.line("               %s, updated %s; patched: %s, encrypted: %s, locks: %s", p.OS, a.when(p.Updated), yesNo(p.Patched), yesNo(p.Encrypted), yesNo(p.Locked))
	}
}

func (a *app) devicePosture() *cobra.Command {
	var local bool
	c := &cobra.Command{
		Use: "posture", Short: "Look at this computer's state and report it", Args: arguments(),
		Example: `  sallyport device posture
  sallyport device posture --local   # look, and tell nobody`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := a.keeper()
			if err != nil {
				return err
			}
			r := k.System.Look(cmd.Context())
			look := func() {
				a.line("%s %s, updated %s; disk encrypted: %s, screen locks: %s", r.Family, r.Version, a.when(r.Updated), string(r.Encrypted), string(r.Locked))
			}
			if local {
				return a.answer(r, look)
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if a.computer == nil {
				return sallyport.E("report posture", sallyport.NotFound, "this computer is not enrolled at "+c.Server(), "enrol it with 'sallyport device enroll'")
			}
			d, err := a.computer.Report(cmd.Context(), c)
			if err != nil {
				return err
			}
			return a.answer(d, func() { look(); a.showPosture(d) })
		},
	}
	c.Flags().BoolVar(&local, "local", false, "look only")
	return c
}

func (a *app) deviceRenew() *cobra.Command {
	return &cobra.Command{
		Use: "renew", Short: "Renew this computer's certificate now", Args: arguments(),
		Long: `Renew the certificate over the present one; where that has ended, as the person who is signed in. It renews itself whenever
you use Sallyport in the last third of its life.`,
		Example: "  sallyport device renew",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if a.computer == nil {
				return sallyport.E("renew certificate", sallyport.NotFound, "this computer is not enrolled at "+c.Server(), "enrol it with 'sallyport device enroll'")
			}
			d, err := a.computer.Renew(cmd.Context(), c)
			if err != nil {
				return err
			}
			return a.answer(d, func() { a.line("%s: certificate until %s", d.ID, a.when(d.Expires)) })
		},
	}
}

func (a *app) deviceRemove() *cobra.Command {
	var why string
	var others bool
	c := &cobra.Command{
		Use: "rm DV-…", Short: "Remove a device for good; what runs from it is cut", Args: arguments("DV-…"),
		Example: `  sallyport device rm DV-4FK2Q81MZT3WPX7A --why "laptop sold"
  sallyport device rm DV-4FK2Q81MZT3WPX7A --others --why "stolen"   # somebody else's, for administrators`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.unenrolled = !others && a.isThis(cmd.Context(), args[0]) // the certificate ends with this call
			c, err := a.connect()
			if err != nil {
				return err
			}
			d, err := c.RemoveDevice(cmd.Context(), args[0], why, others)
			if err != nil {
				return err
			}
			if a.unenrolled {
				k, err := a.keeper()
				if err != nil {
					return err
				}
				if err := k.Forget(c.Server()); err != nil {
					return err
				}
			}
			return a.answer(d, func() { a.line("%s (%s) is removed; its certificates are revoked", d.ID, d.Name) })
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for the record")
	c.Flags().BoolVar(&others, "others", false, "a device of somebody else's")
	return c
}

// isThis reports whether a device is this computer, at the server that is meant.
func (a *app) isThis(ctx context.Context, id string) bool {
	c, err := a.connect()
	if err != nil {
		return false
	}
	d, err := a.enrolled(ctx, c.Server())
	return err == nil && d != nil && d.ID() == id
}

func (a *app) devicePromote() *cobra.Command {
	class := "admin"
	c := &cobra.Command{
		Use: "promote DV-…", Short: "Make somebody else's device one for administration, or take that back", Args: arguments("DV-…"),
		Long: `Administration and approvals may be asked to come from a device of class admin. Nobody promotes their own device, and its key
must be bound to its hardware as the operator asks for.`,
		Example: `  sallyport device promote DV-4FK2Q81MZT3WPX7A --class admin
  sallyport device promote DV-4FK2Q81MZT3WPX7A --class standard`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with2((*client.Client).ClassifyDevice, args[0], class), func(d api.Device) {
				a.line("%s (%s of %s) is of class %s", d.ID, d.Name, d.Owner, d.Class)
			})
		},
	}
	c.Flags().StringVar(&class, "class", class, "the `CLASS`: admin or standard")
	complete(c, "class", "admin", "standard")
	return c
}

func (a *app) deviceComply() *cobra.Command {
	var compliant bool
	var why string
	c := &cobra.Command{
		Use: "comply DV-…", Short: "Record what device management says of a device", Args: arguments("DV-…"),
		Long:    "While a device does not comply, nothing good that it reports of itself is believed.",
		Example: `  sallyport device comply DV-4FK2Q81MZT3WPX7A --compliant=false --why "no endpoint protection"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, func(c *client.Client, ctx context.Context) (api.Device, error) {
				return c.ComplyDevice(ctx, args[0], compliant, why)
			}, func(d api.Device) {
				a.line("%s (%s of %s): %s", d.ID, d.Name, d.Owner, postureOf(d))
			})
		},
	}
	c.Flags().BoolVar(&compliant, "compliant", true, "it complies")
	c.Flags().StringVar(&why, "why", "", "the `REASON` why it does not")
	return c
}

// rotateAuthority rotates the authority that signs device certificates.
func (a *app) rotateAuthority(ctx context.Context, root bool) error {
	t := table{headings: []string{"KEY", "KIND", "MADE", "ENDS", "SIGNS"}}
	return rows(ctx, a, with((*client.Client).RotateAuthority, root), t, func(k api.AuthorityKey) []string {
		kind := "intermediate"
		if k.Root {
			kind = "root"
		}
		return []string{k.ID, kind, a.when(k.Made), a.when(k.Ends), yesNo(k.Retired.IsZero())}
	})
}
