package admission

import (
	"fmt"
	"slices"
	"strings"

	"sallyport"
)

// A Source is a rule by which a name in a manifest becomes a name of the catalog. Exactly one of To, Is and Tool is set.
type Source struct {
	// From is what the rule covers: everything that begins with it, for To ("hf://acme/", "registry.acme.test/models/"), or
	// one pinned name. Volumes are named by their kind: "pvc://CLAIM", "nfs://SERVER/PATH", "hostpath:///PATH", "csi://DRIVER".
	From string `yaml:"from"`
	// To is the organisation in which the rest is looked up: NAME and a digest, as NAME@sha256:HEX, NAME/sha256:HEX, NAME:HEX
	// or NAME/HEX[/FILE]; HEX is a version's digest or, for hf://, the first 40 digits of it.
	To string `yaml:"to"`
	// Is is the version, "ORG/MODEL@sha256:HEX" or "ORG/MODEL@v3", that From holds.
	Is string `yaml:"is"`
	// Tool says that From is no model, and is approved as it is: a runtime's image, a scratch volume.
	Tool bool `yaml:"tool"`
	// Environments are where the rule holds; empty means nowhere.
	Environments []sallyport.Environment `yaml:"environments"`

	is sallyport.Ref
}

// maxName bounds a name in a manifest.
const maxName = 1024

// check refuses rules that cannot be meant.
func (s Source) check() (Source, error) {
	const op = "configuration"
	bad := func(text, next string) (Source, error) {
		return s, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the admission source %.80q %s", s.From, text), next)
	}
	kinds := 0
	for _, set := range []bool{s.To != "", s.Is != "", s.Tool} {
		if set {
			kinds++
		}
	}
	if kinds != 1 || s.From == "" || !readable(s.From) {
		return bad("needs exactly one of \"to\", \"is\" and \"tool\"", "")
	}
	if len(s.Environments) == 0 {
		return bad("holds in no environment", "write \"environments: [staging, production]\"")
	}
	for _, e := range s.Environments {
		if _, err := sallyport.ParseEnvironment(string(e)); err != nil {
			return s, err
		}
	}
	switch {
	case s.To != "":
		if !strings.HasSuffix(s.From, "/") {
			return bad("covers names that begin alike", "end it with \"/\"")
		}
		return s, sallyport.CheckName(op, s.To)
	case s.Is != "":
		var err error
		s.is, err = sallyport.ParseRef(s.Is)
		if err == nil && (s.is.Kind != sallyport.ModelKind || s.is.Revision == "") {
			return bad("means no version", "write ORG/MODEL@VERSION")
		}
		if err != nil {
			return s, err
		}
	}
	if !isVolume(s.From) && !pinned(s.From) {
		return bad("may move", "pin it: NAME@sha256:DIGEST")
	}
	return s, nil
}

// A claim is one thing that a manifest names.
type claim struct {
	image bool
	name  string
	at    string // where in the manifest
}

// resolved is what a claim turned out to be.
type resolved struct {
	ref    sallyport.Ref
	tool   bool
	refuse string // why it is refused, "" where it is not
	next   string // what to write instead
}

// resolve finds what a claim means in an environment.
func (c *Cluster) resolve(x claim, env sallyport.Environment) resolved {
	name := x.name
	if !readable(name) {
		return resolved{refuse: "can be read in more than one way", next: "write it without '..', '%', '?', '#', '\\' and variables"}
	}
	if x.image {
		name = normal(name)
	}
	for _, s := range c.Sources {
		if !slices.Contains(s.Environments, env) {
			continue
		}
		switch {
		case s.To == "" && plain(s.From, x.image) == plain(name, x.image):
			return resolved{ref: s.is, tool: s.Tool}
		case s.To != "" && strings.HasPrefix(name, s.From):
			return within(s, name)
		}
	}
	return resolved{refuse: "is covered by no rule of this cluster in " + string(env),
		next: "use a model of the catalog, or have an operator add it to \"admission\" in the configuration"}
}

// within reads what stands behind the prefix of a rule: a name and a digest.
func within(s Source, name string) resolved {
	rest := strings.TrimPrefix(name, s.From)
	end := strings.IndexAny(rest, "@:/")
	if end < 0 {
		end = len(rest)
	}
	model, tail := rest[:end], rest[end:]
	if sallyport.CheckName("admission", model) != nil {
		return resolved{refuse: "names no model of " + s.To, next: "write " + s.From + "MODEL@sha256:DIGEST"}
	}
	pin := pinIn(tail)
	if pin == "" {
		show := s.To + "/" + model
		return resolved{refuse: "is not pinned: what it names may change after it was let in",
			next: fmt.Sprintf("write %s%s@sha256:DIGEST ('sallyport show %s' prints the digests of its versions)", s.From, model, show)}
	}
	return resolved{ref: sallyport.Ref{Kind: sallyport.ModelKind, Org: s.To, Name: model, Revision: pin}}
}

// pinIn reads what stands behind a model's name, and returns the revision that pins it: @sha256:HEX with a tag before it or
// not, /HEX or /sha256:HEX with a path behind it or not, :HEX or @HEX. HEX are 64 digits, or the 40 of a commit behind ":"
// and "@". "" is anything else: the digest stands directly behind the name, so that it pins this one.
func pinIn(tail string) string {
	if tag, digest, ok := strings.Cut(tail, "@sha256:"); ok && (tag == "" || tag[0] == ':' && !strings.ContainsAny(tag[1:], "/:@")) {
		return revision(digest, false)
	}
	if tail == "" {
		return ""
	}
	mark, rest := tail[0], strings.TrimPrefix(tail[1:], "sha256:")
	if mark == '/' {
		rest, _, _ = strings.Cut(rest, "/")
		return revision(rest, false)
	}
	return revision(rest, true)
}

// revision is a digest as a name of the catalog has it, "" where hex is none.
func revision(hex string, commit bool) string {
	if strings.Trim(hex, "0123456789abcdef") != "" {
		return ""
	}
	switch {
	case len(hex) == 64:
		return "sha256:" + hex
	case commit && len(hex) == 40:
		return hex
	}
	return ""
}

// pinned reports whether a part of a name is a digest.
func pinned(name string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(name, func(r rune) bool { return r == '@' || r == ':' || r == '/' }),
		func(part string) bool { return revision(part, true) != "" })
}

// normal writes an image with its registry, and drops a tag beside a digest, which says nothing.
func normal(image string) string {
	image = strings.TrimPrefix(image, "oci://")
	repository, digest, ok := strings.Cut(image, "@")
	host, rest, sub := strings.Cut(repository, "/")
	switch {
	case !sub:
		repository = "docker.io/library/" + host
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		repository = "docker.io/" + host + "/" + rest
	}
	if !ok {
		return repository
	}
	slash := strings.LastIndexByte(repository, '/')
	if colon := strings.LastIndexByte(repository, ':'); colon > slash {
		repository = repository[:colon]
	}
	return repository + "@" + digest
}

// plain is a name in the one spelling that rules are compared in.
func plain(name string, image bool) string {
	if image {
		return normal(name)
	}
	return strings.TrimSuffix(name, "/")
}

// readable reports whether a name has one reading.
func readable(s string) bool {
	if s == "" || len(s) > maxName || strings.Contains(s, "..") || strings.ContainsAny(s, "%?#\\$`{}") {
		return false
	}
	for _, r := range s {
		if r <= 0x20 || r > 0x7e {
			return false
		}
	}
	return true
}

// isVolume reports whether a rule is about a volume, whose name is all there is to pin.
func isVolume(from string) bool {
	kind, _, ok := strings.Cut(from, "://")
	return ok && slices.Contains([]string{"pvc", "nfs", "hostpath", "csi", "volume", "service", "url"}, kind)
}
