package main

import (
	"context"

	"github.com/spf13/cobra"

	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) keys() *cobra.Command {
	return noun(&cobra.Command{Use: "keys", Short: "Keys: what there are, and rotating them"}, a.keysInventory(), a.keysRotate())
}

func (a *app) keysInventory() *cobra.Command {
	return &cobra.Command{
		Use: "inventory", Short: "List every key that the server has: kind, algorithm, age, next rotation", Args: arguments(),
		Example: "  sallyport keys inventory --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return do(cmd.Context(), a, (*client.Client).KeyInventory, a.showKeys)
		},
	}
}

func (a *app) showKeys(all []api.KeyEntry) {
	t := table{none: "there are no keys", headings: []string{"KIND", "ID", "ALGORITHM", "STATE", "FROM", "NEXT", "USE"}}
	for _, k := range all {
		t.rows = append(t.rows, []string{k.Kind, k.ID, k.Algorithm, k.State, a.when(k.From), a.when(k.Next), k.Use})
	}
	a.table(t)
	for _, k := range all {
		if k.Note != "" {
			a.note("%s: %s", clean(k.Kind), clean(k.Note))
		}
	}
}

func (a *app) keysRotate() *cobra.Command {
	var now, root bool
	c := &cobra.Command{
		Use: "rotate [KIND]", Short: "Make a new key: kek (the default), signing, ca or log", Args: arguments("[KIND]"),
		Long: `Make a new key.
  kek      the key-encryption key; every data key is wrapped under it, no model is touched
  signing  the key that signs tokens; it is published an hour before it signs, so that no request fails
  ca       the intermediate of the device authority, with --root the root, too; what they signed before stays good until it ends
  log      cannot be rotated: a log is known by its name and key together`,
		Example: `  sallyport keys rotate
  sallyport keys rotate signing
  sallyport keys rotate signing --now`,
		ValidArgsFunction: words([]string{"kek", "signing", "ca", "log"}),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind := "kek"
			if len(args) > 0 {
				kind = args[0]
			}
			if now && kind != "signing" {
				return usage(cmd, "--now is for signing keys")
			}
			if root && kind != "ca" {
				return usage(cmd, "--root is for the device authority")
			}
			if kind == "ca" {
				return a.rotateAuthority(cmd.Context(), root)
			}
			if kind == "kek" {
				return a.rotateKEK(cmd.Context())
			}
			return do(cmd.Context(), a, with((*client.Client).RotateTokenKeys, api.KeyRotation{Kind: kind, Now: now}), a.showKeys)
		},
	}
	c.Flags().BoolVar(&root, "root", false, "of the device authority: a new root, too")
	c.Flags().BoolVar(&now, "now", false, "forget the old signing keys at once: everybody signs in again")
	return c
}

func (a *app) rotateKEK(ctx context.Context) error {
	return do(ctx, a, waitingFor(a, "wrapping", (*client.Client).RotateKeys), func(r api.Rotation) {
		a.line("%d data keys are wrapped under the new key %s", r.Rewrapped, r.Key)
	})
}

func (a *app) logReindex() *cobra.Command {
	return &cobra.Command{
		Use: "reindex", Short: "Throw the search index away and make it again from the log", Args: arguments(),
		Example: "  sallyport log reindex",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return do(cmd.Context(), a, (*client.Client).Reindex, func(head api.Head) {
				a.line("the index is being made again from %d entries", head.Size)
			})
		},
	}
}
