package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/authz/policy/paths"
	tables "sallyport/internal/authz/policy/table"
)

// A workshop is a policy set with what it is tried on. Each file has a usual place beside the directory of the policies.
type workshop struct {
	dir, tables, organisation, paths string
	with                             []string // directories whose policies are added
}

// flags adds those of the flags that a verb takes.
func (b *workshop) flags(c *cobra.Command, names ...string) {
	f := c.Flags()
	for _, name := range names {
		switch name {
		case "organisation":
			f.StringVar(&b.organisation, name, "", "`FILE` of the organisation (a .yaml beside the policies, or above)")
		case "tables":
			f.StringVar(&b.tables, name, "", "`DIR` of the test tables (tests or decisions, beside the policies or in them)")
		case "paths":
			f.StringVar(&b.paths, name, "", "`FILE` of the declared paths (paths.txt beside the policies)")
		case "with":
			f.StringSliceVar(&b.with, name, nil, "add the policies of this `DIR`")
		}
	}
}

// set compiles the policies.
func (b *workshop) set() (policy.Engine, error) {
	src, err := readSet(b.dir)
	if err != nil {
		return nil, err
	}
	for _, dir := range b.with {
		more, err := readSet(dir)
		if err != nil {
			return nil, err
		}
		maps.Copy(src.Policies, more.Policies)
	}
	e, err := engines.Compile(src)
	if err != nil {
		return nil, &exit{client.ExitDenied, err}
	}
	return e, nil
}

// surveyor is an engine that says what it compares. A program in Rego does not: no bounded world can be built in which
// each of its comparisons comes out both ways, and a search that misses some would say "checked" of what it is not.
func surveyor(e policy.Engine, verb string) (policy.Surveyor, error) {
	s, ok := e.(policy.Surveyor)
	if !ok {
		return nil, sallyport.E(verb, sallyport.Invalid, "a set in Rego cannot be searched: a program does not say what it compares",
			"lint it with --quick, and ask it with 'sallyport policy diff', 'policy test' and 'policy simulate'")
	}
	return s, nil
}

// beside finds the first of some names in the directory of the policies, or beside it.
func (b *workshop) beside(names ...string) string {
	for _, dir := range []string{b.dir, filepath.Dir(filepath.Clean(b.dir))} {
		for _, name := range names {
			if found, err := filepath.Glob(filepath.Join(dir, name)); err == nil && len(found) == 1 {
				return found[0]
			}
		}
	}
	return ""
}

// maxInput bounds a file that is read as a whole, in bytes.
const maxInput = cast.MaxFile

func readText(name string) (string, error) {
	const op = "read file"
	f, err := os.Open(name)
	if err != nil {
		return "", sallyport.E(op, sallyport.Invalid, err.Error(), "")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxInput+1))
	if err != nil || len(b) > maxInput {
		return "", sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%s cannot be read, or has more than %d bytes", name, maxInput), "")
	}
	return string(b), nil
}

// people reads the organisation.
func (b *workshop) people() (*cast.Cast, error) {
	name := b.organisation
	if name == "" {
		if name = b.beside("*.yaml"); name == "" {
			return nil, sallyport.E("read organisation", sallyport.Invalid, "no one .yaml file is beside "+b.dir, "name the organisation with --organisation")
		}
	}
	text, err := readText(name)
	if err != nil {
		return nil, err
	}
	c, err := cast.Parse([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// rows reads the test tables; none where there are none.
func (b *workshop) rows() ([]tables.Row, error) {
	dir := b.tables
	if dir == "" {
		dir = b.beside("tests", "decisions")
	}
	if dir == "" {
		return nil, nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var rows []tables.Row
	for _, name := range files {
		text, err := readText(name)
		if err != nil {
			return nil, err
		}
		more, err := tables.Parse(filepath.Base(name), text)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// declared reads the declared paths; none where there are none.
func (b *workshop) declared() ([]paths.Target, error) {
	name := b.paths
	if name == "" {
		name = b.beside("paths.txt")
	}
	if name == "" {
		return nil, nil
	}
	text, err := readText(name)
	if err != nil {
		return nil, err
	}
	return paths.Parse(filepath.Base(name), text)
}
