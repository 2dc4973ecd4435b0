package cedar_test

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	exptypes "github.com/cedar-policy/cedar-go/x/exp/types"

	"sallyport"
	"sallyport/internal/authz/decision"
	own "sallyport/internal/authz/policy/cedar"
)

// The corpus of the Cedar project, as the cedar-go module ships it: differential
// tests of the engines in Lean, Rust and Go. Nothing of it is committed here.
const (
	corpusCases    = 7_750
	corpusRequests = 62_000
)

type corpusUID struct{ cedar.EntityUID }

func (u *corpusUID) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	return json.Unmarshal(b, &u.EntityUID)
}

type corpusRequest struct {
	Principal, Action, Resource corpusUID
	Context                     cedar.Record
	Decision                    string
	Reason, Errors              []string
}

func (r *corpusRequest) cedar() cedar.Request {
	return cedar.Request{Principal: r.Principal.EntityUID, Action: r.Action.EntityUID, Resource: r.Resource.EntityUID, Context: r.Context}
}

type corpusCase struct {
	name     string
	schema   string
	policies cedar.PolicyList
	entities types.EntityMap
	requests []corpusRequest
}

// corpusStep is 1: the whole corpus, in about two seconds. Under the race detector,
// for which it is one goroutine and ten times slower, it is 8 unless SALLYPORT_FULL
// is set: every eighth case.
func corpusStep() int {
	if underRace && !thorough() {
		return 8
	}
	return 1
}

// corpus reads the cases, sorted by schema and name.
var corpus = sync.OnceValues(func() ([]corpusCase, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cedar-policy/cedar-go").Output()
	if err != nil {
		return nil, err
	}
	files, err := readArchive(filepath.Join(strings.TrimSpace(string(dir)), "corpus-tests.tar.gz"))
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(name string) bool {
		return !strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".entities.json")
	})
	if len(names) != corpusCases {
		return nil, fmt.Errorf("the corpus has %d cases, want %d", len(names), corpusCases)
	}
	var cases []corpusCase
	for i := 0; i < len(names); i += corpusStep() {
		c, err := readCase(files, names[i])
		if err != nil {
			return nil, err
		}
		cases = append(cases, c)
	}
	slices.SortFunc(cases, func(a, b corpusCase) int { return cmp.Or(cmp.Compare(a.schema, b.schema), cmp.Compare(a.name, b.name)) })
	return cases, nil
})

func readArchive(path string) (map[string][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			if files[h.Name], err = io.ReadAll(r); err != nil {
				return nil, err
			}
		}
	}
}

func readCase(files map[string][]byte, name string) (corpusCase, error) {
	var head struct {
		Schema, Policies, Entities string
		Requests                   []corpusRequest
	}
	if err := json.Unmarshal(files[name], &head); err != nil {
		return corpusCase{}, err
	}
	policies, err := cedar.NewPolicyListFromBytes("policy.cedar", files[head.Policies])
	if err != nil {
		return corpusCase{}, err
	}
	var s schema.Schema
	if err := s.UnmarshalCedar(files[head.Schema]); err != nil {
		return corpusCase{}, err
	}
	resolved, err := s.Resolve()
	if err != nil {
		return corpusCase{}, err
	}
	var entities exptypes.EntityMap
	if err := entities.UnmarshalJSONWithSchema(files[head.Entities], resolved); err != nil {
		return corpusCase{}, err
	}
	return corpusCase{name: name, schema: string(files[head.Schema]), policies: policies,
		entities: types.EntityMap(entities), requests: head.Requests}, nil
}

func readCorpus(t *testing.T) []corpusCase {
	t.Helper()
	cases, err := corpus()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range cases {
		n += len(c.requests)
	}
	if want := corpusRequests / corpusStep(); n < want || n > want+8 {
		t.Fatalf("the corpus has %d requests, want %d", n, want)
	}
	return cases
}

// TestCorpus is PX1: every request of the corpus, through the index and without
// it, and through the decision point's rules, gives the decision, the reasons and
// the errors that the corpus expects.
func TestCorpus(t *testing.T) {
	asked, allowed, failed := 0, 0, 0
	for _, c := range readCorpus(t) {
		set := map[string]*cedar.Policy{}
		full := cedar.PolicyMap{}
		for i, p := range c.policies {
			id := "policy" + string(rune('0'+i))
			set[id], full[cedar.PolicyID(id)] = p, p
		}
		engine := own.NewBare(set)
		for i := range c.requests {
			asked++
			r := &c.requests[i]
			slices.Sort(r.Reason)
			slices.Sort(r.Errors)
			indexed := engine.EvaluateBare(r.cedar(), c.entities)
			whole := own.EvaluateFull(full, r.cedar(), c.entities)
			for how, got := range map[string]struct{ reasons, errors []string }{
				"indexed": {indexed.Reasons, indexed.Errors}, "full": {whole.Reasons, whole.Errors},
			} {
				if !slices.Equal(got.reasons, r.Reason) || !slices.Equal(got.errors, r.Errors) {
					t.Fatalf("%s request %d, %s: reasons %q errors %q, want %q %q", c.name, i, how, got.reasons, got.errors, r.Reason, r.Errors)
				}
			}
			d := decision.Combine(engine, indexed)
			if want := r.Decision == "allow"; (d.Outcome == sallyport.Allow) != want || indexed.Allowed != want || whole.Allowed != want {
				t.Fatalf("%s request %d: decision %v, engine %v and %v, want %q", c.name, i, d.Outcome, indexed.Allowed, whole.Allowed, r.Decision)
			}
			if got := policiesOf(d); !slices.Equal(got, r.Reason) || !slices.Equal(d.Errors, r.Errors) {
				t.Fatalf("%s request %d: decided by %q with errors %q, want %q %q", c.name, i, got, d.Errors, r.Reason, r.Errors)
			}
			if d.Outcome == sallyport.Allow {
				allowed++
			}
			if len(d.Errors) > 0 {
				failed++
			}
		}
	}
	if allowed == 0 || failed == 0 {
		t.Errorf("%d requests allowed, %d with a failing policy: the corpus says nothing", allowed, failed)
	}
	t.Logf("%d requests, %d allowed, %d with a failing policy", asked, allowed, failed)
}

// policiesOf returns the policies that determined d, without those that failed
// and without the decision point's own reasons.
func policiesOf(d sallyport.Decision) []string {
	var ids []string
	for _, id := range d.ReasonIDs() {
		if strings.HasPrefix(id, "policy") && !slices.Contains(d.Errors, id) {
			ids = append(ids, id)
		}
	}
	return ids
}
