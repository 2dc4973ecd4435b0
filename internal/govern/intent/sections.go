package intent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport"
)

// kindOf are the keys of a configuration whose entries are items of their own. Everything else is a setting, so that a key
// that nobody thought of is compared too.
func kindOf(key string) Kind {
	switch key {
	case "federation":
		return Provider
	case "tasks", "scim", "upstreams", "models", "signals", "notify", "workloads":
		return Connector
	case "extauthz", "authzen", "admission", "devices":
		return Door
	case "separate":
		return Separation
	}
	return Setting
}

// Sections makes items of a configuration, a tree of maps, lists and plain values. Lists of maps with a name become one item
// for each, called KEY/NAME.
func Sections(tree map[string]any) ([]Item, error) {
	var all []Item
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		kind := kindOf(key)
		found, err := section(kind, key, tree[key])
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func section(kind Kind, key string, v any) ([]Item, error) {
	switch x := v.(type) {
	case map[string]any:
		if kind != Door && kind != Connector {
			break
		}
		var all []Item
		rest := map[string]any{}
		for _, k := range slices.Sorted(maps.Keys(x)) {
			if names(x[k]) == nil {
				rest[k] = x[k]
				continue
			}
			found, err := section(kind, key+"/"+k, x[k])
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
		i, err := item(kind, key, rest)
		return append(all, i...), err
	case []any:
		if kind == Separation {
			return pairs(x)
		}
		called := names(x)
		if called == nil {
			break
		}
		var all []Item
		for n, e := range x {
			found, err := item(kind, key+"/"+called[n], e)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
		return all, nil
	}
	return item(kind, key, v)
}

// item is one item, none where its value is empty.
func item(kind Kind, name string, v any) ([]Item, error) {
	value, err := Value(v)
	if err != nil || value == "{}" {
		return nil, err
	}
	return []Item{{Kind: kind, Name: name, Value: value}}, nil
}

// names are the names of a list's entries, nil where it is no list of maps that have one each, all different.
func names(v any) []string {
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil
	}
	var all []string
	for _, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			return nil
		}
		name := ""
		for _, key := range []string{"model", "name", "service", "source"} { // what serves a model is called by it
			if s, ok := m[key].(string); ok && name == "" {
				name = s
			}
		}
		if checkName(name) != nil || len(name) > MaxName/2 || slices.Contains(all, name) {
			return nil
		}
		all = append(all, name)
	}
	return all
}

// pairs are roles that one person may not have together, whatever their order.
func pairs(list []any) ([]Item, error) {
	seen := map[string]bool{}
	var all []Item
	for _, e := range list {
		two, ok := e.([]any)
		if !ok || len(two) != 2 {
			return nil, sallyport.E("read configuration", sallyport.Invalid, "an entry of \"separate\" is no pair", "write [one, other]")
		}
		both := []string{fmt.Sprint(two[0]), fmt.Sprint(two[1])}
		slices.Sort(both)
		if name := strings.Join(both, " "); !seen[name] {
			seen[name] = true
			all = append(all, Item{Kind: Separation, Name: name, Value: `{"apart":true}`})
		}
	}
	return all, nil
}
