package decision

import (
	"net/netip"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// DataScope is the reason for a file that what was permitted does not reach.
const DataScope = "data.scope"

// reaches reports whether a grant is for a file: one that names files covers those, and
// a question about the whole under the obligation to hand out no others.
func (g *Grant) reaches(file string) bool {
	return file == "" || within(g.Obligations, file)
}

// within reports whether a file matches every glob among obligations.
func within(obligations []sallyport.Obligation, file string) bool {
	for _, o := range obligations {
		if o.Kind == sallyport.OnlyFiles && !sallyport.MatchFile(o.Text, file) {
			return false
		}
	}
	return true
}

// narrowed is a permission with what the grants behind it oblige to, as far as it needs
// them: of several that cover the question one without obligations is enough, and of
// others all count. A file that is outside what remains is denied.
func (f *Facts) narrowed(engine policy.Engine, ip netip.Addr, d sallyport.Decision) sallyport.Decision {
	if d.Outcome != sallyport.Allow {
		return d
	}
	if extra := f.Basis.obliged(&f.Question); len(extra) > 0 {
		q := f.query(ip)
		q.Context.Granted = false
		if f.evaluate(engine, q, &f.Question).Outcome != sallyport.Allow {
			d.Obligations = strictest(d.Obligations, extra)
		}
	}
	d.Obligations = f.tightened(d.Obligations)
	if f.File != "" && !within(d.Obligations, f.File) {
		return refuse(engine, sallyport.Deny, DataScope)
	}
	return d
}

// obliged are the obligations of the grants that cover a question, none where one of
// them has none.
func (b *Basis) obliged(q *Question) []sallyport.Obligation {
	var all []sallyport.Obligation
	for i := range b.Grants {
		g := &b.Grants[i]
		if !g.Covers(q.Action, q.At) || !g.reaches(q.File) {
			continue
		}
		if len(g.Obligations) == 0 {
			return nil
		}
		all = strictest(all, g.Obligations)
	}
	return all
}
