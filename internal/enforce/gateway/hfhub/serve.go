package hfhub

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/enforce/gateway"
)

func (h *Hub) whoami(d *gateway.Delivery) error {
	who := d.Permit.Who()
	return writeJSON(d, map[string]any{
		"type": string(who.ID.Kind()), "id": string(who.ID), "name": who.ID.Name(), "fullname": who.ID.Name(), "orgs": []any{},
		"auth": map[string]any{"type": "access_token", "accessToken": map[string]string{"displayName": who.Scope.String(), "role": "read"}},
	})
}

// list answers with the models that the caller may read, and no trace of others,
// a page at a time.
func (h *Hub) list(d *gateway.Delivery) error {
	q := d.Request().URL.Query()
	after := q.Get("cursor")
	limit := h.page
	if n, err := strconv.Atoi(q.Get("limit")); err == nil && n > 0 {
		limit = min(n, h.page)
	}
	models, last := []map[string]any{}, ""
	for _, r := range h.vault.Models() {
		name := r.Org + "/" + r.Name
		if name <= after || q.Get("author") != "" && q.Get("author") != r.Org || !strings.Contains(name, strings.ToLower(q.Get("search"))) {
			continue
		}
		for _, x := range h.guard.Visible(d.Permit, sallyport.ModelRead, []sallyport.Ref{r}) {
			if len(models) == limit {
				q.Set("cursor", last)
				h.next(d, q)
				return writeJSON(d, models)
			}
			last = name
			models = append(models, map[string]any{"id": name, "modelId": name, "private": true,
				"sha": catalog.Commit(x.Digest), "tags": []string{"class:" + string(x.Class)}})
		}
	}
	return writeJSON(d, models)
}

// next announces another page of the same answer.
func (h *Hub) next(d *gateway.Delivery, q url.Values) {
	path := strings.TrimPrefix(d.Request().URL.EscapedPath(), h.prefix)
	d.Header().Set("Link", fmt.Sprintf(`<%s%s?%s>; rel="next"`, h.base, path, q.Encode()))
}

func (h *Hub) info(d *gateway.Delivery) error {
	v, err := h.version(d)
	if err != nil {
		return err
	}
	x := d.Permit.Resource()
	siblings := make([]map[string]any, len(v.Files))
	for i, f := range v.Files {
		siblings[i] = map[string]any{"rfilename": f.Path}
		if d.Request().URL.Query().Get("blobs") != "" {
			siblings[i]["size"], siblings[i]["blobId"] = f.Size, catalog.Commit(f.SHA256)
			siblings[i]["lfs"] = map[string]any{"sha256": f.SHA256, "size": f.Size, "pointerSize": pointerSize(f)}
		}
	}
	name := v.Org + "/" + v.Model
	return writeJSON(d, map[string]any{
		"_id": catalog.Commit(v.Digest), "id": name, "modelId": name, "author": v.Org, "sha": catalog.Commit(v.Digest),
		"lastModified": v.Created.UTC().Format("2006-01-02T15:04:05.000Z"), "createdAt": v.Created.UTC().Format("2006-01-02T15:04:05.000Z"),
		"private": true, "gated": false, "disabled": false, "downloads": 0, "likes": 0, "siblings": siblings,
		"tags": []string{"class:" + string(x.Class), "environment:" + string(x.Environment), "version:" + v.Number},
	})
}

func (h *Hub) refs(d *gateway.Delivery) error {
	v, err := h.version(d)
	if err != nil {
		return err
	}
	main := map[string]string{"name": "main", "ref": "refs/heads/main", "targetCommit": catalog.Commit(v.Digest)}
	return writeJSON(d, map[string]any{"branches": []any{main}, "tags": []any{}, "converts": []any{}})
}

// version returns the permitted version with its files; a model without one has
// no revision yet.
func (h *Hub) version(d *gateway.Delivery) (catalog.Version, error) {
	v, err := h.vault.Version(d.Permit)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return v, sallyport.E("revision", sallyport.NotFound, "there is no such revision", "").Because(reasonNoRevision)
	}
	return v, err
}

type entry struct {
	Type string `json:"type"`
	OID  string `json:"oid"`
	Size int64  `json:"size"`
	Path string `json:"path"`
	LFS  *lfs   `json:"lfs,omitempty"`
}

type lfs struct {
	OID         string `json:"oid"`
	Size        int64  `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

func entryOf(f catalog.File) entry {
	e := entry{Type: "file", OID: catalog.Commit(f.SHA256), Size: f.Size, Path: f.Path}
	if !f.Aux() {
		e.LFS = &lfs{OID: f.SHA256, Size: f.Size, PointerSize: pointerSize(f)}
	}
	return e
}

// pointerSize is the length of the Git LFS pointer file that would stand for f.
func pointerSize(f catalog.File) int { return 126 + len(strconv.FormatInt(f.Size, 10)) }

// tree lists a folder, or everything below it with recursive=true, a page at a time.
func (h *Hub) tree(d *gateway.Delivery, dir string) error {
	v, err := h.version(d)
	if err != nil {
		return err
	}
	q := d.Request().URL.Query()
	entries := list(v.Files, dir, q.Get("recursive") == "true" || q.Get("recursive") == "1")
	if dir != "" && len(entries) == 0 {
		return sallyport.E("tree", sallyport.NotFound, "there is no such folder", "").Because(reasonNoEntry)
	}
	if after := q.Get("cursor"); after != "" {
		from, _ := slices.BinarySearchFunc(entries, after, func(e entry, p string) int { return strings.Compare(e.Path, p+"\x00") })
		entries = entries[from:]
	}
	if len(entries) > h.page {
		q.Set("cursor", entries[h.page-1].Path)
		h.next(d, q)
		entries = entries[:h.page]
	}
	return writeJSON(d, entries)
}

// list returns the entries of dir, sorted by path.
func list(files []catalog.File, dir string, recursive bool) []entry {
	entries := []entry{}
	folders := map[string]bool{}
	for _, f := range files {
		rest := f.Path
		if dir != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(f.Path, dir+"/"); !ok {
				continue
			}
		}
		if recursive || !strings.Contains(rest, "/") {
			entries = append(entries, entryOf(f))
		}
		for p := path.Dir(rest); p != "."; p = path.Dir(p) {
			full := path.Join(dir, p)
			if !folders[full] && (recursive || !strings.Contains(p, "/")) {
				folders[full] = true
				entries = append(entries, entry{Type: "directory", OID: strings.Repeat("0", 40), Path: full})
			}
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.Path, b.Path) })
	return entries
}

// maxForm bounds the body of paths-info.
const maxForm = 1 << 20

// readPaths reads the paths that a client asks about: a form from Python, a JSON
// object from npm.
func readPaths(r *http.Request) (map[string]bool, error) {
	const op = "paths-info"
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "the body broke off", err)
	}
	if len(raw) > maxForm {
		return nil, sallyport.E(op, sallyport.TooLarge, "the body is over 1 MiB", "ask for fewer paths at a time")
	}
	var paths []string
	switch ct, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); ct {
	case "application/json":
		var body struct {
			Paths []string `json:"paths"`
		}
		err = json.Unmarshal(raw, &body)
		paths = body.Paths
	case "application/x-www-form-urlencoded":
		var form url.Values
		form, err = url.ParseQuery(string(raw))
		paths = form["paths"]
	default:
		return nil, sallyport.E(op, sallyport.Invalid, "the body is neither a form nor JSON", "")
	}
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "the body cannot be read", err)
	}
	want := make(map[string]bool, len(paths))
	for _, p := range paths {
		want[p] = true
	}
	return want, nil
}

// paths answers about the files that a client names.
func (h *Hub) paths(d *gateway.Delivery, want map[string]bool) error {
	v, err := h.version(d)
	if err != nil {
		return err
	}
	return writeJSON(d, slices.DeleteFunc(list(v.Files, "", true), func(e entry) bool { return !want[e.Path] }))
}

// file answers HEAD and GET of one file. The commit is the version that was
// decided on, whatever main means by the time the bytes leave.
func (h *Hub) file(d *gateway.Delivery) error {
	hd := d.Header()
	hd.Set(commitHeader, catalog.Commit(d.Permit.Resource().Digest))
	v, err := h.version(d)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(v.Files, func(f catalog.File) bool { return f.Path == d.Permit.File() })
	if i < 0 {
		return sallyport.E("resolve", sallyport.NotFound, "there is no such file in "+v.Org+"/"+v.Model+"@"+v.Number, "").Because(reasonNoEntry)
	}
	f := v.Files[i]
	etag := `"` + f.SHA256 + `"`
	hd.Set("ETag", etag)
	hd.Set("X-Linked-Etag", etag)
	hd.Set("X-Linked-Size", strconv.FormatInt(f.Size, 10))
	hd.Set("Accept-Ranges", "bytes")
	hd.Set("Content-Type", "application/octet-stream")
	hd.Set("Content-Disposition", fmt.Sprintf("attachment; filename*=UTF-8''%s", url.PathEscape(path.Base(f.Path))))
	if d.Request().Method == http.MethodHead {
		hd.Set("Content-Length", strconv.FormatInt(f.Size, 10))
		d.WriteHeader(http.StatusOK)
		return nil
	}
	content, err := h.vault.Open(d.Permit, f.Path)
	if err != nil {
		return err
	}
	defer content.Close()
	return d.Content(v.Created, content)
}
