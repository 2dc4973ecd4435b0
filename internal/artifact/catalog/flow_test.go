package catalog

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sallyport"
)

func labelled(t *testing.T, x *Index, name string) sallyport.Class {
	t.Helper()
	ref, err := sallyport.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := x.Resolve(ref)
	if !ok {
		t.Fatalf("%s is not there", name)
	}
	return r.Class
}

// TestLabelsFlow: what was made from restricted data is restricted, over several steps,
// through a version that was retired, and as soon as the data's own label is raised.
func TestLabelsFlow(t *testing.T) {
	d := Dump{
		Datasets: []Dataset{{Org: "acme", Name: "claims", Class: sallyport.Restricted}, {Org: "acme", Name: "news", Class: sallyport.Public}},
		Models: []Model{{Org: "acme", Name: "base", Class: sallyport.Public, Aliases: map[string]string{"main": "v1"}}, {Org: "acme", Name: "tuned", Class: sallyport.Public},
			{Org: "acme", Name: "far", Class: sallyport.Public}, {Org: "acme", Name: "other", Class: sallyport.Internal}, {Org: "acme", Name: "empty", Class: sallyport.Internal}},
		Versions: []Version{
			{Org: "acme", Model: "base", Number: "v1", Digest: digest("1"), Lineage: []Origin{{Kind: "dataset", Ref: "acme/claims"}}, Retired: true},
			{Org: "acme", Model: "tuned", Number: "v1", Digest: digest("2"), Lineage: []Origin{{Kind: "base", Ref: "acme/base@v1"}}},
			{Org: "acme", Model: "far", Number: "v1", Digest: digest("3"), Lineage: []Origin{{Kind: "adapter", Ref: "acme/gone", Digest: digest("2")}, {Kind: "adapter", Ref: "acme/tuned", Digest: "sha256:" + digest("2")}}},
			{Org: "acme", Model: "far", Number: "v2", Digest: digest("4"), Lineage: []Origin{{Kind: "dataset", Ref: "dataset:acme/news"}, {Kind: "base", Ref: "meta-llama/llama"}, {Kind: "base", Ref: "not a name"}}},
			{Org: "acme", Model: "far", Number: "v3", Digest: digest("5"), Lineage: []Origin{{Kind: "base", Ref: "acme/empty"}}},
			{Org: "acme", Model: "other", Number: "v1", Digest: digest("6"), Class: sallyport.Restricted},
		},
	}
	x := NewIndex(d)
	for name, want := range map[string]sallyport.Class{"acme/tuned@v1": sallyport.Restricted, "acme/far@v1": sallyport.Restricted, "acme/far@v2": sallyport.Public,
		"acme/far@v3": sallyport.Internal, "acme/other@v1": sallyport.Restricted, "acme/far": sallyport.Public} {
		if got := labelled(t, x, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	d.Datasets[0].Class, d.Datasets[1].Class = sallyport.Internal, sallyport.Restricted
	x = NewIndex(d)
	for name, want := range map[string]sallyport.Class{"acme/tuned@v1": sallyport.Internal, "acme/far@v1": sallyport.Internal, "acme/far@v2": sallyport.Restricted} {
		if got := labelled(t, x, name); got != want {
			t.Errorf("after the labels changed %s is %s, want %s", name, got, want)
		}
	}
}

// TestNoHeirIsLaxer, whatever was made from what, circles through names that move among it.
func TestNoHeirIsLaxer(t *testing.T) {
	classes := []sallyport.Class{sallyport.Public, sallyport.Internal, sallyport.Restricted, ""}
	rapid.Check(t, func(t *rapid.T) {
		var d Dump
		n := rapid.IntRange(1, 8).Draw(t, "models")
		for i := range n {
			name := fmt.Sprint("m", i)
			d.Models = append(d.Models, Model{Org: "acme", Name: name, Class: rapid.SampledFrom(classes).Draw(t, "class"), Aliases: map[string]string{"main": "v1"}})
			v := Version{Org: "acme", Model: name, Number: "v1", Digest: digest(fmt.Sprint(i))}
			for range rapid.IntRange(0, 3).Draw(t, "origins") {
				v.Lineage = append(v.Lineage, Origin{Kind: "base", Ref: fmt.Sprint("acme/m", rapid.IntRange(0, n-1).Draw(t, "from"))})
			}
			d.Versions = append(d.Versions, v)
		}
		x := NewIndex(d)
		of := func(model string) sallyport.Class {
			r, _ := x.Resolve(sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: model})
			return r.Class
		}
		for i, v := range d.Versions {
			reached := []int{i} // by asking, step by step, what it was made from
			for k := 0; k < len(reached); k++ {
				for _, o := range d.Versions[reached[k]].Lineage {
					at := slices.IndexFunc(d.Models, func(m Model) bool { return "acme/"+m.Name == o.Ref })
					if !slices.Contains(reached, at) {
						reached = append(reached, at)
					}
				}
			}
			want := sallyport.Public
			for _, at := range reached {
				if Less(want, d.Models[at].Class) {
					if want = d.Models[at].Class; want == "" {
						want = sallyport.Restricted
					}
				}
			}
			if got := of(v.Model); got != want {
				t.Fatalf("%s is %q, want %q", v.Model, got, want)
			}
		}
	})
}
