package main

import "github.com/spf13/cobra"

func (a *app) keys() *cobra.Command {
	return noun(&cobra.Command{Use: "keys", Short: "Keys of the vault"}, a.keysRotate())
}

func (a *app) keysRotate() *cobra.Command {
	return &cobra.Command{
		Use: "rotate", Short: "Make a new key-encryption key and wrap every data key under it; no model is touched", Args: arguments(),
		Example: "  sallyport keys rotate",
		RunE: func(cmd *cobra.Command, _ []string) error {
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
