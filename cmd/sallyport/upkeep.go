package main

import "github.com/spf13/cobra"

func (a *app) keys() *cobra.Command {
	return noun(&cobra.Command{Use: "keys", Short: "Keys of the vault"}, a.keysRotate())
}

func (a *app) keysRotate() *cobra.Command {
	var root bool
	c := &cobra.Command{
		Use: "rotate [kek|ca]", Short: "Make a new key-encryption key and wrap every data key under it; no model is touched", Args: arguments("[kek|ca]"),
		Long: `kek, the default: make a new key-encryption key and wrap every data key under it.
ca: make a new intermediate, or with --root a new root as well, of the authority that signs device certificates; those that it
signed before stay good until they end, within a day.`,
		Example: `  sallyport keys rotate
  sallyport keys rotate ca`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "ca" {
				return a.rotateAuthority(cmd.Context(), root)
			}
			if len(args) == 1 && args[0] != "kek" || root {
				return usage(cmd, "name what to rotate: kek or ca; --root goes with ca")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			done := a.waiting("wrapping")
			r, err := c.RotateKeys(cmd.Context())
			done()
			if err != nil {
				return err
			}
			return a.answer(r, func() { a.line("%d data keys are wrapped under the new key %s", r.Rewrapped, r.Key) })
		},
	}
	c.Flags().BoolVar(&root, "root", false, "the root of the device authority too")
	c.ValidArgsFunction = words([]string{"kek", "ca"})
	return c
}

func (a *app) logReindex() *cobra.Command {
	return &cobra.Command{
		Use: "reindex", Short: "Throw the search index away and make it again from the log", Args: arguments(),
		Example: "  sallyport log reindex",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			head, err := c.Reindex(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(head, func() { a.line("the index is being made again from %d entries", head.Size) })
		},
	}
}
