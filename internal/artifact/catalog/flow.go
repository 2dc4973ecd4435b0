package catalog

import (
	"strings"

	"sallyport"
)

// flow computes the class that each version has by what it was made from: what was
// trained on restricted data is restricted, whatever its label says, over any number of
// steps. It is computed anew from the labels that stand, so that a dataset whose class
// is raised takes everything that came from it along at once.
//
// An origin that is not in the catalog says nothing: it is a name that somebody wrote,
// and their version keeps its model's class, which is restricted where nobody gave one.
// Retired versions count like others: what they were made from went into their heirs.
func (x *Index) flow() {
	x.flowed = map[*Version]sallyport.Class{}
	heirs := map[*Version][]*Version{}
	for _, list := range x.versions {
		for _, v := range list {
			c := sallyport.Restricted // of a version whose model is not there
			if m := x.models[v.Org+"/"+v.Model]; m != nil {
				c = stricter(class(m.Class), v.Class)
			}
			for _, o := range v.Lineage {
				said, from := x.origin(o)
				if c = stricter(c, said); from != nil {
					heirs[from] = append(heirs[from], v)
				}
			}
			x.flowed[v] = c
		}
	}
	for _, c := range []sallyport.Class{sallyport.Restricted, sallyport.Internal} {
		x.spread(c, heirs)
	}
}

// spread gives class c to the heirs, near and far, of every version that has it, and
// comes to an end where names that moved made a circle of them.
func (x *Index) spread(c sallyport.Class, heirs map[*Version][]*Version) {
	var queue []*Version
	for v, has := range x.flowed {
		if has == c {
			queue = append(queue, v)
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		for _, heir := range heirs[queue[0]] {
			if rank(x.flowed[heir]) < rank(c) {
				x.flowed[heir] = c
				queue = append(queue, heir)
			}
		}
	}
}

// Names is what an origin names in a catalog, pinned where it was; ok is false for a name that no catalog has.
func (o Origin) Names() (ref sallyport.Ref, ok bool) {
	name := o.Ref
	if o.Kind == "dataset" && !strings.HasPrefix(name, "dataset:") {
		name = "dataset:" + name
	}
	ref, err := sallyport.ParseRef(name)
	if err == nil && ref.Kind == sallyport.ModelKind && o.Digest != "" { // what was pinned is what went in, wherever its name points now
		ref.Revision = "sha256:" + strings.TrimPrefix(o.Digest, "sha256:")
	}
	return ref, err == nil
}

// origin finds what somebody named as an origin: the version that it is, or the class
// of what has no versions; neither for what is not here.
func (x *Index) origin(o Origin) (sallyport.Class, *Version) {
	ref, ok := o.Names()
	if !ok {
		return "", nil
	}
	key := ref.Org + "/" + ref.Name
	if ref.Kind == sallyport.DatasetKind {
		if d := x.datasets[key]; d != nil {
			return class(d.Class), nil
		}
		return "", nil
	}
	m := x.models[key]
	if m == nil || ref.Kind != sallyport.ModelKind {
		return "", nil
	}
	if v := x.anyVersion(m, ref.Revision); v != nil {
		return "", v
	}
	return class(m.Class), nil
}

// anyVersion is version, over retired ones too.
func (x *Index) anyVersion(m *Model, revision string) *Version {
	if v := x.version(m, revision); v != nil {
		return v
	}
	for _, v := range x.versions[m.Org+"/"+m.Name] {
		if v.Number == revision || "sha256:"+v.Digest == revision {
			return v
		}
	}
	return nil
}

// Less reports whether a is less strict than b; "" counts as restricted.
func Less(a, b sallyport.Class) bool { return rank(class(a)) < rank(class(b)) }
