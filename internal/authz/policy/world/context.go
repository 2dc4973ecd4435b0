package world

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// A dimension is an attribute of the context with its values, as functions that set them.
type dimension struct {
	path   string
	values []func(*policy.Context)
	read   func(policy.Context) string
}

// noon is when questions are asked that no policy compares with a time: a Wednesday.
func noon() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

// plain is the context of what no policy reads: a signed-in person on nothing in particular.
func plain() policy.Context {
	return policy.Context{Now: noon(), Assurance: sallyport.MultiFactor, Session: true, Door: "admin", Working: true, Device: policy.Device{Posture: policy.NoPosture}}
}

// context is the one at which an odometer stands.
func (p *pair) context(at []int) policy.Context {
	c := plain()
	for i, d := range p.varied {
		d.values[at[i]](&c)
	}
	return c
}

// contexts are the dimensions that policies read.
func contexts(action sallyport.Action, pools map[string]policy.Pool, report *Report) []dimension {
	var out []dimension
	for _, path := range slices.Sorted(maps.Keys(pools)) {
		name, ok := strings.CutPrefix(path, "context.")
		if !ok {
			continue
		}
		if name == "to" && !action.Enters() {
			continue // it is "" in every question there is
		}
		d, ok := field(name, pools[path])
		if !ok {
			if !slices.Contains(report.Unexplored, path) {
				report.Unexplored = append(report.Unexplored, path)
			}
			continue
		}
		d.path = path
		report.Values[path] = max(report.Values[path], len(d.values))
		out = append(out, d)
	}
	return out
}

// field is one attribute by its name.
func field(name string, pool policy.Pool) (dimension, bool) {
	if get := flags(name); get != nil {
		return dimension{values: []func(*policy.Context){
			func(c *policy.Context) { *get(c) = false }, func(c *policy.Context) { *get(c) = true }},
			read: func(c policy.Context) string { return fmt.Sprint(*get(&c)) }}, true
	}
	if get := words(name); get != nil {
		d := dimension{read: func(c policy.Context) string { return fmt.Sprintf("%q", *get(&c)) }}
		for _, s := range texts(pool) {
			d.values = append(d.values, func(c *policy.Context) { *get(c) = s })
		}
		return d, true
	}
	if get, most := numbers(name); get != nil {
		d := dimension{read: func(c policy.Context) string { return fmt.Sprint(*get(&c)) }}
		for _, n := range around(pool, 0, most) {
			d.values = append(d.values, func(c *policy.Context) { *get(c) = n })
		}
		return d, true
	}
	switch name {
	case "assurance":
		d := dimension{read: func(c policy.Context) string { return c.Assurance.String() }}
		for a := sallyport.Assurance(0); a <= sallyport.Hardware; a++ {
			d.values = append(d.values, func(c *policy.Context) { c.Assurance = a })
		}
		return d, true
	case "to":
		d := dimension{read: func(c policy.Context) string { return c.To }}
		for _, to := range []sallyport.Environment{sallyport.Development, sallyport.Staging, sallyport.Production} {
			d.values = append(d.values, func(c *policy.Context) { c.To = string(to) })
		}
		return d, true
	case "now":
		return moments(pool), true
	case "ip":
		return addresses(pool), true
	case "training":
		return trainings(pool), true
	}
	return dimension{}, false
}

func flags(name string) func(*policy.Context) *bool {
	return map[string]func(*policy.Context) *bool{
		"granted": func(c *policy.Context) *bool { return &c.Granted }, "session": func(c *policy.Context) *bool { return &c.Session },
		"bound": func(c *policy.Context) *bool { return &c.Bound }, "working": func(c *policy.Context) *bool { return &c.Working },
		"probation":        func(c *policy.Context) *bool { return &c.Probation },
		"device.encrypted": func(c *policy.Context) *bool { return &c.Device.Encrypted }, "device.locked": func(c *policy.Context) *bool { return &c.Device.Locked },
		"device.patched": func(c *policy.Context) *bool { return &c.Device.Patched },
	}[name]
}

func words(name string) func(*policy.Context) *string {
	return map[string]func(*policy.Context) *string{
		"door": func(c *policy.Context) *string { return &c.Door }, "file": func(c *policy.Context) *string { return &c.File },
		"client": func(c *policy.Context) *string { return &c.Client }, "actor": func(c *policy.Context) *string { return &c.Actor },
		"purpose": func(c *policy.Context) *string { return &c.Purpose }, "network": func(c *policy.Context) *string { return &c.Network },
		"country": func(c *policy.Context) *string { return &c.Country }, "device.class": func(c *policy.Context) *string { return &c.Device.Class },
		"device.os": func(c *policy.Context) *string { return &c.Device.OS },
	}[name]
}

// numbers are with the highest that each can be.
func numbers(name string) (get func(*policy.Context) *int64, most int64) {
	if rest, ok := strings.CutPrefix(name, "history."); ok {
		return window(rest), 1 << 62
	}
	switch name {
	case "authAge":
		return func(c *policy.Context) *int64 { return &c.AuthAge }, 1 << 40
	case "risk":
		return func(c *policy.Context) *int64 { return &c.Risk }, 100
	case "device.level":
		return func(c *policy.Context) *int64 { return &c.Device.Level }, 3
	case "device.postureAge":
		return func(c *policy.Context) *int64 { return &c.Device.Posture }, policy.NoPosture
	}
	return nil, 0
}

func window(name string) func(*policy.Context) *int64 {
	span, count, _ := strings.Cut(name, ".")
	of := map[string]func(*policy.Context) *policy.Window{
		"short": func(c *policy.Context) *policy.Window { return &c.History.Short }, "day": func(c *policy.Context) *policy.Window { return &c.History.Day },
		"month": func(c *policy.Context) *policy.Window { return &c.History.Month },
	}[span]
	in := map[string]func(*policy.Window) *int64{
		"bytes": func(w *policy.Window) *int64 { return &w.Bytes }, "denials": func(w *policy.Window) *int64 { return &w.Denials },
		"models": func(w *policy.Window) *int64 { return &w.Models }, "exports": func(w *policy.Window) *int64 { return &w.Exports },
	}[count]
	if of == nil || in == nil {
		return nil
	}
	return func(c *policy.Context) *int64 { return in(of(c)) }
}

// trainings are none, and such as lie on all sides of the days compared with.
func trainings(pool policy.Pool) dimension {
	d := dimension{read: func(c policy.Context) string { return fmt.Sprint(c.Training.Age()) }}
	for _, n := range around(pool, 0, policy.NoTraining) {
		d.values = append(d.values, func(c *policy.Context) {
			c.Training = policy.Training{Held: n < policy.NoTraining, Days: n % policy.NoTraining}
		})
	}
	return d
}

// moments are times on all sides of those compared with: instants, and times of a day.
func moments(pool policy.Pool) dimension {
	list := []time.Time{noon()}
	add := func(t time.Time) { list = append(list, t.Add(-time.Millisecond), t, t.Add(time.Millisecond)) }
	for _, t := range pool.Instants {
		add(t)
	}
	day := noon().Truncate(24 * time.Hour)
	for _, d := range pool.Spans {
		add(day.Add(d))
	}
	slices.SortFunc(list, time.Time.Compare)
	d := dimension{read: func(c policy.Context) string { return c.Now.Format(time.RFC3339Nano) }}
	for _, t := range slices.CompactFunc(list, time.Time.Equal) {
		d.values = append(d.values, func(c *policy.Context) { c.Now = t })
	}
	return d
}

// addresses are none, one in each network compared with, and one in none of them.
func addresses(pool policy.Pool) dimension {
	list := []netip.Addr{{}, netip.MustParseAddr("203.0.113.77"), netip.MustParseAddr("2001:db8::77")}
	for _, v := range pool.Values {
		if p, err := netip.ParsePrefix(v.String); v.Kind == policy.IPValue && err == nil {
			list = append(list, p.Addr())
		} else if a, err := netip.ParseAddr(v.String); v.Kind == policy.IPValue && err == nil {
			list = append(list, a)
		}
	}
	d := dimension{read: func(c policy.Context) string { return c.IP.String() }}
	for _, a := range list {
		d.values = append(d.values, func(c *policy.Context) { c.IP = a })
	}
	return d
}
