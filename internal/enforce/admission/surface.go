package admission

import (
	_ "embed" // for the list
	"strings"
)

//go:embed upstream.txt
var upstream string // budget: embedding has no other form

// A Surface counts what an API server can ask about.
type Surface struct {
	Asked   int      // things in the list
	Mapped  int      // that become actions
	Refused int      // that are known, and refused
	Missing []string // that are neither: refused all the same
}

// Cover compares what is understood with the list of what can be asked.
func Cover() Surface {
	s := Surface{Missing: []string{}}
	for line := range strings.Lines(upstream) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		s.Asked++
		name, sub, _ := strings.Cut(f[1], "/")
		resource, group, _ := strings.Cut(name, ".")
		same := map[string]any{}
		t := taskOf(Request{Operation: Operation(f[0]), Resource: GVR{Group: group, Resource: resource}, Subresource: sub, Object: same, Old: same}, false)
		refused := len(f) > 2 && f[2] == "refuse"
		switch {
		case refused && t.refuse != "":
			s.Refused++
		case !refused && t.refuse == "":
			s.Mapped++
		default:
			s.Missing = append(s.Missing, f[0]+" "+f[1])
		}
	}
	return s
}
