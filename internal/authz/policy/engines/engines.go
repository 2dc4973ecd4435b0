// Package engines owns which engine reads a policy set (the pluggable PDP): Cedar where its files are .cedar, Rego
// where they are .rego and .json, and neither where the two are mixed. It leaves the languages to authz/policy/cedar and
// authz/policy/rego, and which set is in force to authz/change.
package engines

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/rego"
)

// A Language is what the policies of a set are written in.
type Language string

// The languages.
const (
	Cedar Language = "cedar"
	Rego  Language = "rego"
)

// Of tells the language of a set by the names of its files: Rego where one is .rego, Cedar otherwise. A set with files of
// both is an error of kind Invalid: which rules hold must not depend on who reads them.
func Of(src policy.Source) (Language, error) {
	has := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(src.Policies)) {
		has[path.Ext(name)] = name
	}
	if has[".rego"] == "" {
		return Cedar, nil
	}
	if other := has[".cedar"]; other != "" {
		return "", sallyport.E("read policies", sallyport.Invalid, fmt.Sprintf("the set is in two languages: %s and %s", other, has[".rego"]), "keep the files of one")
	}
	return Rego, nil
}

// Compile compiles a set with the engine of its language. One without a schema is read with the program's own.
func Compile(src policy.Source) (policy.Engine, error) {
	if src.Schema == "" {
		src.Schema = cedar.Schema
	}
	language, err := Of(src)
	if err != nil {
		return nil, err
	}
	if language == Rego {
		return checked(rego.Compile(src))
	}
	return checked(cedar.Compile(src))
}

// checked keeps an engine that is nil from looking like one.
func checked[E policy.Engine](e E, err error) (policy.Engine, error) {
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Warnings are an engine's remarks on its set, sorted; none where it makes none.
func Warnings(e policy.Engine) []string {
	if w, ok := e.(interface{ Warnings() []string }); ok {
		return w.Warnings()
	}
	return nil
}

// maxFile bounds a file of a set, in bytes.
const maxFile = 8 << 20

// Read reads the policy set of a directory: its *.cedar files and the *.cedarschema file if there is one, or its *.rego and
// *.json files. Tests of Rego, *_test.rego, are left out, and so are files of other kinds. A set without a schema is
// compiled with the program's own. Errors are of kind Invalid.
func Read(files fs.FS, dir string) (policy.Source, error) {
	const op = "read policies"
	src := policy.Source{Policies: map[string]string{}}
	entries, err := fs.ReadDir(files, dir)
	if err != nil {
		return src, sallyport.Wrap(op, sallyport.Invalid, "the directory cannot be read", err)
	}
	for _, e := range entries {
		name := e.Name()
		if !slices.Contains([]string{".cedar", ".cedarschema", ".rego", ".json"}, path.Ext(name)) || strings.HasSuffix(name, "_test.rego") || e.IsDir() {
			continue
		}
		text, err := fs.ReadFile(files, path.Join(dir, name))
		if err != nil || len(text) > maxFile {
			return src, sallyport.Wrap(op, sallyport.Invalid, fmt.Sprintf("%s cannot be read or has more than %d bytes", name, maxFile), err)
		}
		switch {
		case path.Ext(name) != ".cedarschema":
			src.Policies[name] = string(text)
		case src.Schema != "":
			return src, sallyport.E(op, sallyport.Invalid, "there are two schemas", "keep one .cedarschema file")
		default:
			src.Schema = string(text)
		}
	}
	language, err := Of(src)
	if err != nil {
		return src, err
	}
	if language == Cedar { // where there are no rules, JSON is something else
		maps.DeleteFunc(src.Policies, func(name, _ string) bool { return path.Ext(name) == ".json" })
	}
	if len(src.Policies) == 0 {
		return src, sallyport.E(op, sallyport.Invalid, "there is no .cedar and no .rego file", "an empty set would permit nothing at all")
	}
	return src, nil
}
