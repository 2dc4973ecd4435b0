package catalog

import (
	"context"
	"fmt"
	"slices"

	"sallyport"
)

// MaxPurposes is how many purposes one thing may have.
const MaxPurposes = 32

// SetPurposes says what a model, with all of its versions, or a dataset may be used
// for: sorted, each once; none takes back what was said.
func (s *Service) SetPurposes(ctx context.Context, ref sallyport.Ref, purposes []string) error {
	const op = "set purposes"
	purposes = slices.Compact(slices.Sorted(slices.Values(purposes)))
	if err := checkPurposes(op, purposes); err != nil {
		return err
	}
	var item Item
	switch {
	case ref.Kind == sallyport.ModelKind && ref.Revision == "":
		item.Model = &Model{Org: ref.Org, Name: ref.Name}
	case ref.Kind == sallyport.DatasetKind:
		item.Dataset = &Dataset{Org: ref.Org, Name: ref.Name}
	default:
		return sallyport.E(op, sallyport.Invalid, ref.String()+" has no purposes of its own", "name a model without a version, or a dataset")
	}
	return s.Store.Put(ctx, item, func(now Standing) (Item, error) {
		switch {
		case now.Old.Model != nil:
			now.Old.Model.Purposes = purposes
		case now.Old.Dataset != nil:
			now.Old.Dataset.Purposes = purposes
		default:
			return Item{}, sallyport.E(op, sallyport.NotFound, ref.String()+" does not exist", "")
		}
		return now.Old, nil
	})
}

func checkPurposes(op string, purposes []string) error {
	if len(purposes) > MaxPurposes {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%d purposes", len(purposes)), fmt.Sprintf("name at most %d", MaxPurposes))
	}
	for _, p := range purposes {
		if err := sallyport.CheckName(op, p); err != nil {
			return err
		}
	}
	return nil
}

// Purposes returns what a resolved resource may be used for, sorted; none where nobody
// has said. A version has its model's.
func (x *Index) Purposes(r sallyport.Resource) []string {
	switch r.Kind {
	case sallyport.ModelKind, sallyport.VersionKind:
		if m, ok := x.models[r.Org+"/"+r.Name]; ok {
			return m.Purposes
		}
	case sallyport.DatasetKind:
		if d, ok := x.datasets[r.Org+"/"+r.Name]; ok {
			return d.Purposes
		}
	}
	return nil
}
