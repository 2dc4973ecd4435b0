package native

import (
	"net/http"
	"slices"
	"strconv"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/vault"
	"sallyport/internal/enforce/gateway"
)

// A Manifest is the answer about a version. Salt and files are what the digest is
// the SHA-256 of, as vault.Manifest says.
type Manifest struct {
	Org         string                `json:"org"`
	Model       string                `json:"model"`
	Number      string                `json:"number"`
	Digest      string                `json:"digest"`
	Class       sallyport.Class       `json:"class"`
	Environment sallyport.Environment `json:"environment"`
	Lineage     []catalog.Origin      `json:"lineage,omitempty"`
	vault.Manifest
}

func (n *Native) manifest(d *gateway.Delivery) error {
	v, err := n.vault.Version(d.Permit)
	if err != nil {
		return err
	}
	m, err := n.vault.Manifest(d.Permit)
	return answer(d, Manifest{Org: v.Org, Model: v.Model, Number: v.Number, Digest: v.Digest, Class: d.Permit.Resource().Class,
		Environment: v.Environment, Lineage: v.Lineage, Manifest: m}, err)
}

// file answers HEAD and GET of one file of the version that was decided on.
func (n *Native) file(d *gateway.Delivery) error {
	v, err := n.vault.Version(d.Permit)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(v.Files, func(f catalog.File) bool { return f.Path == d.Permit.File() })
	if i < 0 {
		return sallyport.E("pull", sallyport.NotFound, "there is no such file in "+d.Permit.Resource().String(), "")
	}
	f, h := v.Files[i], d.Header()
	h.Set("ETag", `"`+f.SHA256+`"`)
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Sallyport-Version", v.Number)
	if d.Request().Method == http.MethodHead {
		h.Set("Content-Length", strconv.FormatInt(f.Size, 10))
		d.WriteHeader(http.StatusOK)
		return nil
	}
	content, err := n.vault.Open(d.Permit, f.Path)
	if err != nil {
		return err
	}
	defer content.Close()
	return d.Content(v.Created, content)
}
