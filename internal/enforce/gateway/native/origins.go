package native

import (
	"fmt"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/enforce/guard"
)

// reasonOrigin is why a push is refused that names what its pusher may not read.
const reasonOrigin = "origin.unreadable"

// mayName refuses a push that was made from what its pusher may not read: data of production is not for staging by way of
// what is trained on it either. What is not here is refused alike, so that nobody learns by naming it what there is. Names of
// organisations that this catalog does not have are somebody else's, and say nothing.
func (n *Native) mayName(p *guard.Permit, from []catalog.Origin) error {
	const op = "begin upload"
	if len(from) > catalog.MaxLineage {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%d origins", len(from)), fmt.Sprintf("name at most %d", catalog.MaxLineage))
	}
	for _, o := range from {
		ref, ok := o.Names()
		if !ok {
			continue
		}
		if _, ours := n.vault.Index().Resolve(sallyport.Ref{Kind: sallyport.OrganisationKind, Org: ref.Org}); !ours || n.reads(p, ref) {
			continue
		}
		e := sallyport.Event{Type: sallyport.EventRefused, Who: p.Who().ID, Action: p.Action(), Decision: p.ID(), On: p.Resource().String(),
			Reasons: []string{reasonOrigin}, Detail: map[string]string{"origin": ref.String()}}
		if _, err := n.guard.Note(p.Context(), e); err != nil {
			return err
		}
		return sallyport.E(op, sallyport.NotFound, "there is no "+ref.String()+" that you may read, and so nothing of yours was made from it",
			"have it pushed by somebody who may read it, or ask for the right to").Because(reasonOrigin)
	}
	return nil
}

// reads reports whether the holder of a permit may read data, or about a version. Of a version that is retired, whoever may
// read about its model may name it.
func (n *Native) reads(p *guard.Permit, ref sallyport.Ref) bool {
	read := sallyport.ModelRead
	if ref.Kind == sallyport.DatasetKind {
		read = sallyport.DatasetRead
	}
	bare := ref
	bare.Revision = ""
	return len(n.guard.Visible(p, read, []sallyport.Ref{ref})) > 0 || ref.Revision != "" && len(n.guard.Visible(p, read, []sallyport.Ref{bare})) > 0
}
