package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/authz/policy/matrix"
)

// signedMatrix writes the matrix with the log's signature below it.
func (a *app) signedMatrix(cmd *cobra.Command, c *client.Client, level sallyport.Assurance, project string) error {
	done := a.waiting("asking for everybody")
	m, err := c.SignedMatrix(cmd.Context(), level, project)
	done()
	if err != nil {
		return err
	}
	_, err = io.WriteString(a.out, m.Text)
	return err
}

// readMatrix reads a signed matrix from a file; its signature is checked where a key is given.
func readMatrix(name, key string) (*matrix.Matrix, error) {
	text, err := readText(name)
	if err != nil {
		return nil, err
	}
	signed, m, err := matrix.ReadFile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if key == "" {
		return m, nil
	}
	k, err := readKey(key)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(strings.TrimSpace(k))
	if err != nil {
		return nil, sallyport.E("read key", sallyport.Invalid, err.Error(), "")
	}
	n, err := note.Open([]byte(signed), note.VerifierList(v))
	if err == nil && n.Text != m.Statement() {
		err = errors.New("it is for another matrix")
	}
	if err != nil {
		return nil, &exit{client.ExitDenied, fmt.Errorf("%s: the signature is not the log's for this text: %w", name, err)}
	}
	return m, nil
}

func (a *app) matrixVerify() *cobra.Command {
	var key string
	c := &cobra.Command{
		Use: "verify FILE", Short: "Verify the signature of a matrix, without a server", Args: arguments("FILE"),
		Example: "  sallyport matrix verify access.txt --key log.key",
		RunE: func(cmd *cobra.Command, args []string) error {
			if key == "" {
				return usage(cmd, "name the file of the log's public key, with --key")
			}
			m, err := readMatrix(args[0], key)
			if err != nil {
				return err
			}
			x := struct {
				Policy string `json:"policy"`
				At     string `json:"at"`
			}{m.Policy, m.At.Format("2006-01-02T15:04:05Z07:00")}
			return a.answer(x, func() { a.line("ok: the matrix of %s under policy %s", x.At, x.Policy) })
		},
	}
	c.Flags().StringVar(&key, "key", "", "`FILE` with the log's public key")
	return c
}

func (a *app) matrixDiff() *cobra.Command {
	var key string
	c := &cobra.Command{
		Use: "diff OLD NEW", Short: "Compare two signed matrices, without a server", Args: arguments("OLD", "NEW"),
		Long:    "List the cells that differ, what is wider first. Exit code 2 where anybody can do more.",
		Example: "  sallyport matrix diff january.txt february.txt --key log.key",
		RunE: func(_ *cobra.Command, args []string) error {
			old, err := readMatrix(args[0], key)
			if err != nil {
				return err
			}
			next, err := readMatrix(args[1], key)
			if err != nil {
				return err
			}
			list := matrix.Diff(old, next)
			if err := a.answer(list, func() { a.cells(list) }); err != nil {
				return err
			}
			if slices.ContainsFunc(list, func(c matrix.Change) bool { return c.Wider }) {
				return ended(client.ExitDenied)
			}
			return nil
		},
	}
	c.Flags().StringVar(&key, "key", "", "verify both with the log's public key in this `FILE`")
	return c
}
