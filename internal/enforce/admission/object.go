package admission

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"sallyport"
)

// The bounds of an object.
const (
	maxDepth  = 64
	maxClaims = 128
)

// A reader collects what an object names. Its expressions are made once an object; reviews are rare beside calls.
type reader struct {
	claims []claim
	bad    string // why the object cannot be read, "" where it can
	scheme *regexp.Regexp
	env    *regexp.Regexp
	flag   *regexp.Regexp
}

// claims returns everything that an object names which decides what will run: images, models by address, by argument or by
// variable, and volumes that may hold one. It reads every member of the object but its status and its managed fields, so
// that a field which a later version adds is read too.
func claims(object any) ([]claim, error) {
	r := &reader{
		scheme: regexp.MustCompile(`(?i)\b(?:s3|gs|hdfs|webhdfs|hf|modelscope|oci|pvc|pvc\+[a-z]+|azure|abfss?|wasbs?|ollama|file)://[^\s"',;|&()<>]*` +
			`|https?://(?:[a-z0-9.-]+\.)?(?:huggingface\.co|hf\.co|modelscope\.(?:cn|com)|ollama\.com|blob\.core\.windows\.net|amazonaws\.com|storage\.googleapis\.com)(?:[/:][^\s"',;|&()<>]*)?`),
		env:  regexp.MustCompile(`(?i)(?:^|_)(?:MODEL|MODELS|MODEL_?ID|MODEL_?PATH|MODEL_?URI|MODEL_?URL|MODEL_?DIR|MODEL_?STORE|MODEL_?REPOSITORY|STORAGE_?URI|LORA_?MODULES|ADAPTERS?|CHECKPOINT)$`),
		flag: regexp.MustCompile(`^--?(?:model|model[-_](?:id|path|uri|url|dir|store|repository|name[-_]or[-_]path)|hf[-_](?:repo|model)|tokenizer|lora[-_]modules|adapters?|(?:speculative|draft)[-_]model|checkpoint|storage[-_]uri)$`),
	}
	root, _ := object.(map[string]any)
	for _, key := range sorted(root) {
		switch key {
		case "status":
		case "metadata":
			m, _ := root[key].(map[string]any)
			r.walk("metadata.annotations", m["annotations"], 1)
			r.walk("metadata.labels", m["labels"], 1)
		default:
			r.walk(key, root[key], 1)
		}
	}
	if r.bad != "" {
		return nil, invalid(r.bad, "")
	}
	return r.claims, nil
}

func (r *reader) add(image bool, name, at string) {
	if name == "" {
		return // which is how a field is left out
	}
	x := claim{image: image, name: name, at: at}
	if slices.ContainsFunc(r.claims, func(c claim) bool { return c.image == image && c.name == name }) {
		return
	}
	if r.claims = append(r.claims, x); len(r.claims) > maxClaims {
		r.bad = fmt.Sprintf("it names over %d images and models", maxClaims)
	}
}

func (r *reader) walk(at string, v any, depth int) {
	if depth > maxDepth {
		r.bad = fmt.Sprintf("it is nested over %d deep", maxDepth)
	}
	if r.bad != "" {
		return
	}
	switch v := v.(type) {
	case string:
		r.text(at, v)
	case []any:
		for i, x := range v {
			r.walk(fmt.Sprintf("%s[%d]", at, i), x, depth+1)
		}
	case map[string]any:
		r.object(at, v, depth)
	}
}

// object reads the members of one object, and those that mean something together.
func (r *reader) object(at string, m map[string]any, depth int) {
	r.arguments(at, m)
	r.variable(at, m)
	if list, ok := m["volumes"].([]any); ok {
		for i, v := range list {
			r.volume(fmt.Sprintf("%s.volumes[%d]", at, i), v)
		}
	}
	for _, key := range sorted(m) {
		below := at + "." + key
		if key != "supportedUriFormats" && m[key] != nil && !r.member(below, key, m[key]) { // not what a storage container could read
			r.walk(below, m[key], depth+1)
		}
	}
}

// member reads a member whose name says what it holds, and reports whether it did.
func (r *reader) member(at, key string, v any) bool {
	s, isText := v.(string)
	lower := strings.ToLower(key)
	switch {
	case isText && (key == "image" || key == "reference" && strings.HasSuffix(at, ".image.reference")):
		r.add(true, s, at)
	case isText && strings.HasSuffix(lower, "uri"):
		r.add(false, s, at)
	case isText && (lower == "serviceurl" || lower == "url"):
		r.add(false, "url://"+strings.TrimPrefix(s, "http://"), at)
	case key == "storage" && (text(v, "path") != "" || text(v, "key") != ""):
		r.add(false, "storage://"+text(v, "path"), at) // an address that stands in a secret
	case key == "dataSource" || key == "dataSourceRef" || key == "volumeName":
		r.add(false, "volume://"+key, at)
	default:
		return false
	}
	return true
}

// text finds addresses of models anywhere in a text: an argument, a script, a variable, an annotation.
func (r *reader) text(at, s string) {
	for _, found := range r.scheme.FindAllString(s, maxClaims+1) {
		r.add(false, found, at)
	}
}

// arguments finds what a command and its arguments name without an address: "--model acme/fraud", "vllm serve acme/fraud".
func (r *reader) arguments(at string, m map[string]any) {
	var words []string
	for _, key := range []string{"command", "args"} {
		list, _ := m[key].([]any)
		for _, x := range list {
			s, _ := x.(string)
			words = append(words, strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune(" \t\n\r\"';|&", c) })...)
		}
	}
	revision := ""
	for i, w := range words {
		if name, value, ok := strings.Cut(w, "="); name == "--revision" && ok {
			revision = value
		} else if w == "--revision" && i+1 < len(words) {
			revision = words[i+1]
		}
	}
	for i, w := range words {
		name, value, inOne := strings.Cut(w, "=")
		next := ""
		if i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
			next = words[i+1]
		}
		switch {
		case r.flag.MatchString(name) && inOne:
			r.named(at+".args", value, revision)
		case r.flag.MatchString(name), i > 0 && (w == "serve" || w == "run" || w == "pull") && program(words[i-1]):
			r.named(at+".args", next, revision)
		}
	}
}

// program reports whether a word is one of the programs whose first argument is a model.
func program(w string) bool {
	return slices.Contains([]string{"vllm", "ollama", "tgi", "sglang"}, w[strings.LastIndexByte(w, '/')+1:])
}

// variable reads one entry of "env".
func (r *reader) variable(at string, m map[string]any) {
	name, ok := m["name"].(string)
	if !ok || !strings.Contains(at, ".env[") || !r.env.MatchString(name) {
		return
	}
	if m["valueFrom"] != nil {
		r.add(false, "env://"+name, at) // what a manifest does not say cannot be approved
		return
	}
	value, _ := m["value"].(string)
	r.named(at, value, "")
}

// named adds a model that is named as a program would look it up: an address is found by text, a path lies in an image or
// a volume, which are claims themselves, and everything else is a name on the Hub.
func (r *reader) named(at, value, revision string) {
	if value == "" || strings.HasPrefix(value, "/") || strings.Contains(value, "://") {
		return
	}
	if i := strings.IndexByte(value, '='); i >= 0 { // NAME=MODEL, as adapters are given
		value = value[i+1:]
		if strings.HasPrefix(value, "/") {
			return
		}
	}
	name := "hf://" + value
	if revision != "" {
		name += ":" + revision
	}
	r.add(false, name, at)
}

// volume names a volume that may hold a model. Those that the cluster fills anew, or from what is no file store, hold none.
func (r *reader) volume(at string, v any) {
	m, _ := v.(map[string]any)
	for _, kind := range sorted(m) {
		switch kind {
		case "name", "emptyDir", "configMap", "secret", "projected", "downwardAPI", "image", "ephemeral": // the last two are walked
		case "persistentVolumeClaim":
			r.add(false, "pvc://"+text(m[kind], "claimName"), at)
		case "hostPath":
			r.add(false, "hostpath://"+text(m[kind], "path"), at)
		case "nfs":
			r.add(false, "nfs://"+text(m[kind], "server")+text(m[kind], "path"), at)
		case "csi":
			r.add(false, "csi://"+text(m[kind], "driver"), at)
		default:
			r.add(false, "volume://"+sallyport.OneLine(kind), at)
		}
	}
}

func sorted(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
