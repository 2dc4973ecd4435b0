package rego

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// Limits on a policy set; one that exceeds them is refused.
const (
	MaxFiles     = 1_000
	MaxPolicies  = 20_000
	MaxSetBytes  = 16 << 20  // all files
	MaxModule    = 256 << 10 // one .rego file
	MaxDocument  = 8 << 20   // one .json file
	MaxStatement = 16 << 10  // one rule
	MaxRules     = 5_000     // of all modules
	MaxDepth     = 32        // values within values of a document
	maxParsing   = 400       // calls within calls of the parser
)

const op = "compile policy"

// declared is the document that names the policies.
const declared = "policies"

// home is the package whose sets are the answer.
const home = "sallyport"

// A set is what the files of a source say.
type set struct {
	modules   map[string]*ast.Module // by file
	documents map[string]any         // by name
	infos     map[string]policy.Info
	rules     int
}

// read parses all files. Errors are of kind Invalid or TooLarge and name the file.
func read(files map[string]string) (*set, error) {
	if err := checkSize(files); err != nil {
		return nil, err
	}
	s := &set{modules: map[string]*ast.Module{}, documents: map[string]any{}, infos: map[string]policy.Info{}}
	caps := capabilities()
	for _, file := range slices.Sorted(maps.Keys(files)) {
		var err error
		switch path.Ext(file) {
		case ".rego":
			err = s.module(file, files[file], caps)
		case ".json":
			err = s.document(file, files[file])
		default:
			err = sallyport.E(op, sallyport.Invalid, "a set in Rego has .rego and .json files only", "leave it out")
		}
		if err != nil {
			return nil, refuse(file, err)
		}
	}
	return s, s.declare()
}

func checkSize(files map[string]string) error {
	total := 0
	for name, text := range files {
		if name == "" || len(name) > 200 || !utf8.ValidString(name) || !utf8.ValidString(text) {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the file %.80q is no UTF-8 text with a name of at most 200 bytes", name), "")
		}
		most := MaxModule
		if path.Ext(name) == ".json" {
			most = MaxDocument
		}
		if len(text) > most {
			return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%s has more than %d bytes", name, most), "split the file, or say it with data")
		}
		total += len(text)
	}
	if len(files) > MaxFiles || total > MaxSetBytes {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("more than %d files or %d bytes", MaxFiles, MaxSetBytes), "say more with fewer policies")
	}
	return nil
}

// module parses a file of rules. The parser is first run by itself with a bound on its depth.
func (s *set) module(file, text string, caps *ast.Capabilities) error {
	p := ast.NewParser().WithMaxRecursionDepth(maxParsing).WithFilename(file).WithCapabilities(caps).WithRegoVersion(ast.RegoV1).WithReader(strings.NewReader(text))
	if _, _, errs := p.Parse(); len(errs) > 0 {
		return errs
	}
	m, err := ast.ParseModuleWithOpts(file, text, ast.ParserOptions{Capabilities: caps, RegoVersion: ast.RegoV1})
	if err != nil {
		return err
	}
	if m == nil {
		return sallyport.E(op, sallyport.Invalid, "the file is empty", `begin it with "package sallyport"`)
	}
	if s.rules += len(m.Rules); s.rules > MaxRules {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("the set has more than %d rules", MaxRules), "write few rules, and what they are about as data")
	}
	for _, r := range m.Rules {
		if r.Location != nil && len(r.Location.Text) > MaxStatement {
			return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("the rule at line %d has more than %d bytes", r.Location.Row, MaxStatement), "write several rules")
		}
	}
	s.modules[file] = m
	return numbers(m)
}

// numbers refuses numbers that are no whole numbers of 64 bits: others cost what their text does not show.
func numbers(m *ast.Module) error {
	var bad ast.Number
	ast.WalkTerms(m, func(t *ast.Term) bool {
		if n, ok := t.Value.(ast.Number); ok && !whole(string(n)) {
			bad = n
		}
		return bad != ""
	})
	if bad != "" {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.40s is no whole number of 64 bits", string(bad)), "count in smaller units")
	}
	return nil
}

func whole(n string) bool {
	_, err := strconv.ParseInt(n, 10, 64)
	return err == nil
}

// document reads a file of data: strict JSON without doubled names, whole numbers only.
func (s *set) document(file, text string) error {
	name := strings.TrimSuffix(file, ".json")
	if !ast.IsVarCompatibleString(name) || name == home || name == "data" || name == "input" {
		return sallyport.E(op, sallyport.Invalid, "the name of a document is that of a variable, and not "+home, "call it like grants.json")
	}
	if !jsontext.Value(text).IsValid() {
		return sallyport.E(op, sallyport.Invalid, "this is not JSON, or has a name twice", "")
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err
	}
	if err := plain(v, 0); err != nil {
		return err
	}
	s.documents[name] = v
	return nil
}

// plain refuses values that nest too deep and numbers that are not whole.
func plain(v any, depth int) error {
	if depth > MaxDepth {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("values nest more than %d deep", MaxDepth), "")
	}
	switch x := v.(type) {
	case map[string]any:
		for _, member := range x {
			if err := plain(member, depth+1); err != nil {
				return err
			}
		}
	case []any:
		for _, element := range x {
			if err := plain(element, depth+1); err != nil {
				return err
			}
		}
	case json.Number:
		if !whole(x.String()) {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.40s is no whole number of 64 bits", x.String()), "count in smaller units")
		}
	}
	return nil
}

// refuse is an error about a place in the set. The text of the cause is public: it speaks of the author's own text.
func refuse(place string, cause error) error {
	if own, ok := cause.(*sallyport.Error); ok {
		return sallyport.E(op, own.Kind, place+": "+own.Message, own.Hint)
	}
	return sallyport.E(op, sallyport.Invalid, place+": "+oneLine(cause), "correct it and run 'sallyport policy check'")
}

// oneLine shortens an engine's error for a message.
func oneLine(err error) string {
	const most = 400
	s := strings.ReplaceAll(err.Error(), "\n", "; ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
