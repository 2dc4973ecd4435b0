package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/internal/identity/blocklist"
)

func (a *app) blocklist() *cobra.Command {
	return noun(&cobra.Command{Use: "blocklist", Short: "The list of passwords known from breaches"}, a.blocklistBuild())
}

func (a *app) blocklistBuild() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "build FILE", Short: "Make the server's list from a text of SHA-1 hashes, ordered by hash (- reads standard input)", Args: arguments("FILE"),
		Example: "  sallyport blocklist build pwned-passwords-sha1-ordered-by-hash.txt --out blocklist.bin",
		RunE: func(_ *cobra.Command, args []string) error {
			from := a.in
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return sallyport.Wrap("build blocklist", sallyport.Invalid, fmt.Sprintf("the file %s cannot be opened", args[0]), err)
				}
				defer f.Close()
				from = f
			}
			done := a.waiting("building")
			n, err := writeWhole(out, func(f *os.File) (int64, error) { return blocklist.Build(f, from) })
			done()
			if err != nil {
				return err
			}
			made := struct {
				File      string `json:"file"`
				Passwords int64  `json:"passwords"`
			}{out, n}
			return a.answer(made, func() {
				a.line("%s holds %d passwords", clean(out), n)
				a.note("Name it in the server's configuration: blocklist: %s", clean(out))
			})
		},
	}
	c.Flags().StringVar(&out, "out", "blocklist.bin", "the `FILE` to write")
	return c
}

// writeWhole writes a file beside its place and moves it there: nobody reads half of one.
func writeWhole(path string, write func(*os.File) (int64, error)) (n int64, err error) {
	const op = "write file"
	f, err := os.CreateTemp(filepath.Dir(path), ".sallyport-*")
	if err != nil {
		return 0, sallyport.Wrap(op, sallyport.Invalid, "nothing can be written beside "+path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if n, err = write(f); err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return n, err
}
