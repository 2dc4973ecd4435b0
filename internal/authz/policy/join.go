package policy

import (
	"encoding/json"
	"fmt"

	"sallyport"
)

// Join puts the parts of policy events together again. It returns the sources of
// all complete sets by version.
func Join(events []sallyport.Event) (map[string]Source, error) {
	type half struct {
		parts []string
		seen  int
	}
	open := map[string]*half{}
	sources := map[string]Source{}
	for _, e := range events {
		var i, of int
		if _, err := fmt.Sscan(e.Detail["part"]+" "+e.Detail["of"], &i, &of); err != nil || of < 1 || of > 1<<12 || i < 0 || i >= of {
			return nil, sallyport.E("read policy", sallyport.Invalid, "a policy event does not say which part it is", "")
		}
		h := open[e.On]
		if h == nil || i == 0 {
			h = &half{parts: make([]string, of)}
			open[e.On] = h
		}
		if len(h.parts) != of {
			return nil, sallyport.E("read policy", sallyport.Invalid, "the parts of "+e.On+" do not fit together", "")
		}
		h.parts[i] = e.Detail["text"]
		if h.seen++; h.seen < of {
			continue
		}
		var text []byte
		for _, p := range h.parts {
			text = append(text, p...)
		}
		var src Source
		if err := json.Unmarshal(text, &src); err != nil {
			return nil, sallyport.Wrap("read policy", sallyport.Invalid, "the text of "+e.On+" cannot be read", err)
		}
		sources[e.On] = src
		delete(open, e.On)
	}
	return sources, nil
}
