package decision

import (
	"strings"

	"sallyport"
)

// probation are those in b that last and concern the question.
func (b *Basis) probation(q *Question) []Probation {
	var all []Probation
	for _, p := range b.Probation {
		if q.At.Before(p.Until) && q.concerns(p.Target) {
			all = append(all, p)
		}
	}
	return all
}

// tightened are the obligations of a permission with what the probation of any who act, or of the resource, adds to them
// where weights or data leave.
func (f *Facts) tightened(obligations []sallyport.Obligation) []sallyport.Obligation {
	switch f.Action {
	case sallyport.ModelPull, sallyport.ModelPullAux, sallyport.ModelExport, sallyport.DatasetRead, sallyport.DatasetExport:
	default:
		return obligations
	}
	for _, p := range f.Basis.probation(&f.Question) {
		obligations = strictest(obligations, p.Obligations)
	}
	for _, b := range f.Acting {
		for _, p := range b.probation(&f.Question) {
			obligations = strictest(obligations, p.Obligations)
		}
	}
	return obligations
}

// OnProbation names the holds behind the probations of a basis that last and concern the question.
func (b *Basis) OnProbation(q *Question) string {
	var ids []string
	for _, p := range b.probation(q) {
		ids = append(ids, p.ID)
	}
	return strings.Join(ids, " ")
}
