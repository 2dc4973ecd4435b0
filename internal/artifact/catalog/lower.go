package catalog

import (
	"context"
	"fmt"

	"sallyport"
)

// Lowered is the reason of an error about a label that would become less strict.
const Lowered = "label.lower"

// Raise is Relabel to a class that is as strict as the label there is, or stricter.
// Anything else is an error of kind Conflict with the reason Lowered.
func (s *Service) Raise(ctx context.Context, ref sallyport.Ref, to sallyport.Class) error {
	return s.relabel(ctx, ref, to, func(own, will sallyport.Class) error {
		if Less(will, own) {
			return sallyport.E("change label", sallyport.Conflict, fmt.Sprintf("%s is %s, and others must approve before it is less strict", ref, own), "ask for it").Because(Lowered)
		}
		return nil
	})
}

// Lower is Relabel of what is labelled from.
func (s *Service) Lower(ctx context.Context, ref sallyport.Ref, from, to sallyport.Class) error {
	return s.relabel(ctx, ref, to, func(own, _ sallyport.Class) error {
		if own != from {
			return sallyport.E("change label", sallyport.Conflict, fmt.Sprintf("%s is %s now, and was %s when it was asked for", ref, own, from), "ask again")
		}
		return nil
	})
}

// Own is the label of a resource without what it was made from: what Raise and Lower
// compare with. Of a version it is the stricter of its model's and its own.
func (x *Index) Own(r sallyport.Resource) sallyport.Class {
	if v, ok := x.Version(r); ok {
		if m := x.models[r.Org+"/"+r.Name]; m != nil {
			return stricter(class(m.Class), v.Class)
		}
	}
	return r.Class
}
